//! Files that stand beside the weights of other checkpoints, made of what a weight file says: tokenizer, config, and the
//! like.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tempfile::TempDir;

use super::checkpoint::{CheckpointError, Shard};

/// What makes the files.
pub(super) trait Generate: fmt::Debug + Send + Sync {
    /// The name of the model.
    fn model_name(&self) -> String;

    /// Names and contents, from the config and the files that hold the weights.
    fn files(
        &self,
        config: &Map<String, Value>,
        shards: &[Shard],
    ) -> Result<Vec<(&'static str, String)>, CheckpointError>;
}

/// Files to be made where somebody asks for them: a tokenizer takes longer than planning a conversion.
#[derive(Debug)]
pub(super) struct GeneratedFiles(pub(super) Box<dyn Generate>);

/// Files that were made, for as long as they are needed.
#[derive(Debug)]
pub(super) struct Made {
    /// Removed with it.
    _temporary: TempDir,
    directory: PathBuf,
}

impl GeneratedFiles {
    /// Makes the files in a directory that is named after the model, inside a temporary one.
    pub(super) fn write(&self, config: &Map<String, Value>, shards: &[Shard]) -> Result<Made, CheckpointError> {
        let made = Made::empty(&self.0.model_name())?;
        for (name, text) in self.0.files(config, shards)? {
            fs_err::write(made.directory.join(name), text).map_err(|source| CheckpointError::Temporary { source })?;
        }
        Ok(made)
    }
}

impl Made {
    /// A directory that is named after the model, inside a temporary one.
    fn empty(model_name: &str) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Temporary { source };
        let temporary = TempDir::with_prefix("anec-").map_err(failed)?;
        let directory = temporary.path().join(file_name(model_name));
        fs_err::create_dir(&directory).map_err(failed)?;
        Ok(Self { _temporary: temporary, directory })
    }

    /// Copies of files, by the names that they get.
    pub(super) fn copies(model_name: &str, files: &[(String, PathBuf)]) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Temporary { source };
        let made = Self::empty(model_name)?;
        for (name, source) in files {
            let to = made.directory.join(name);
            if let Some(parent) = to.parent() {
                fs_err::create_dir_all(parent).map_err(failed)?;
            }
            fs_err::copy(source, to).map_err(failed)?;
        }
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        &self.directory
    }
}

/// A name as the name of one file: what separates paths or moves a cursor becomes a dash.
fn file_name(name: &str) -> String {
    const LONGEST: usize = 96;
    let plain =
        |character: char| if character.is_alphanumeric() || "-_. ".contains(character) { character } else { '-' };
    let name: String = name.chars().map(plain).take(LONGEST).collect();
    let name = name.trim_matches(['.', ' ']);
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_do_not_lead_out_of_the_directory() {
        assert_eq!(file_name("SmolLM2-135M.Q4_1"), "SmolLM2-135M.Q4_1");
        assert_eq!(file_name("../../etc"), "-..-etc");
        assert_eq!(file_name(".."), "model");
        assert_eq!(file_name("a\u{1b}b/c"), "a-b-c");
    }
}
