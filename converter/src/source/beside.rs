//! The tokenizer beside a weight file that has none and no config.json.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::checkpoint::{CheckpointError, Directory, Shard};
use super::generated::Generate;

/// Files of a tokenizer.
const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

/// Most bytes of such a file.
const MOST_BYTES: u64 = 512 << 20;

/// The directory of a weight file.
#[derive(Debug)]
pub(super) struct Beside {
    /// The name of the model: that of the file.
    name: String,
    directory: Directory,
}

impl Beside {
    /// What is beside a file. Links into one of the `linked` directories are followed.
    pub(super) fn of(path: &Path, linked: &[PathBuf]) -> Result<Self, CheckpointError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = Directory::open(parent.unwrap_or(Path::new(".")))?.with_links_into(linked)?;
        Ok(Self { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), directory })
    }

    /// Whether there is any file of a tokenizer.
    pub(super) fn has_tokenizer(&self) -> bool {
        TOKENIZER_FILES.iter().any(|name| self.directory.has(name))
    }

    /// Why there will be no tokenizer, where there is none.
    pub(super) fn warnings(&self) -> Vec<String> {
        if self.directory.has("tokenizer.json") {
            return Vec::new();
        }
        let found = if self.directory.has("tokenizer.bin") {
            "the tokenizer.bin beside the weights is a form that llama2.c alone reads"
        } else {
            "no tokenizer.json stands beside the weights"
        };
        vec![format!(
            "no tokenizer is written, because {found}: put the tokenizer.json that the model was trained with beside the weights or \
             into the result (for the published stories models, that of Llama 2)"
        )]
    }
}

impl Generate for Beside {
    fn model_name(&self) -> String {
        self.name.clone()
    }

    fn files(
        &self,
        config: &Map<String, Value>,
        _shards: &[Shard],
    ) -> Result<Vec<(&'static str, String)>, CheckpointError> {
        let mut files = vec![("config.json", format!("{:#}\n", Value::Object(config.clone())))];
        for name in TOKENIZER_FILES.into_iter().filter(|name| self.directory.has(name)) {
            files.push((name, text(self.directory.file(name)?)?));
        }
        Ok(files)
    }
}

fn text(path: PathBuf) -> Result<String, CheckpointError> {
    let failed = |source| CheckpointError::Io { path: path.clone(), source };
    let file = fs_err::File::open(&path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if found > MOST_BYTES {
        return Err(CheckpointError::TooLarge { path, found, limit: MOST_BYTES });
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
