//! Compiled models on disk.

use std::io;
use std::path::{Path, PathBuf};

use anec_mil::compiled::{self, CompiledError, CompiledFiles};
use anec_mil::package::{Model, encode_model};
use anec_runtime::{OpenError, open_model};
use fs_err as fs;

use crate::error::Hint;

/// A compiled model that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model has no compiled form.
    #[error("Cannot compile `{name}`")]
    Compile {
        /// The model.
        name: String,
        /// Why.
        #[source]
        source: CompiledError,
    },
    /// What was written cannot be read.
    #[error("Cannot read back what was written")]
    ReadBack(#[from] OpenError),
    /// What was written is another model.
    #[error("Cannot verify `{}`: it reads back as another model", .path.display())]
    Differs {
        /// The compiled model.
        path: PathBuf,
    },
    /// The disk.
    #[error("Cannot write the compiled model")]
    Io(#[from] io::Error),
}

impl Hint for CompileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Differs { .. } => Some("this is a bug in anec; please report it with the package".to_owned()),
            Self::Compile { source: CompiledError::Unproven { .. }, .. } => {
                Some("`--unproven` writes it as all else is written, which is likely to be right".to_owned())
            }
            Self::Compile { .. } | Self::ReadBack(_) | Self::Io(_) => None,
        }
    }
}

/// Writes everything but the weights below `directory`, and reads the model back from it.
pub(crate) fn write(directory: &Path, files: &CompiledFiles, model: &Model) -> Result<(), CompileError> {
    for (path, bytes) in files.files() {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    let failed = |source| OpenError::model(directory, source);
    let again = open_model(directory)?.model().map_err(failed)?;
    // By bytes, for which a nan equals itself.
    let bytes = |model: &Model| encode_model(model).map_err(|source| failed(source.into()));
    if bytes(&again)? == bytes(&compiled::normalized(model.clone()))? {
        return Ok(());
    }
    Err(CompileError::Differs { path: directory.to_owned() })
}

/// Makes `to` the same file as `from`, or a copy of it where the file system cannot; replaces what is there.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // An earlier attempt may have linked it: a copy onto itself would be empty.
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to)?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_file_has_the_same_bytes_below_a_new_directory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (directory.path().join("a"), directory.path().join("b/c"));
        fs::write(&from, "weights").expect("writable");
        link_or_copy(&from, &to).expect("linked or copied");
        assert_eq!(fs::read(&to).expect("readable"), b"weights");
        link_or_copy(&from, &to).expect("linked or copied again");
        assert_eq!(fs::read(&to).expect("readable"), b"weights");
        assert!(link_or_copy(&directory.path().join("missing"), &to.with_extension("x")).is_err());
    }
}
