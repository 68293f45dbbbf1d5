//! What stands beside the packages: tokenizer and config files, and the checksums of everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anec_schemas::MetaError;
use fs_err as fs;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::error::Hint;

/// Files of a checkpoint that clients of the result read.
const COPIED: [&str; 11] = [
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// The largest companion file that is copied; real tokenizers stay under 40 MB.
const MAX_COMPANION_BYTES: u64 = 512 << 20;

/// Name of the checksum file.
pub(crate) const CHECKSUMS: &str = "SHA256SUMS";

/// Why companions cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A companion file is larger than any tokenizer.
    #[error("Cannot copy `{}`: it has {found} bytes, expected at most {MAX_COMPANION_BYTES}", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// `tokenizer_config.json` is not a JSON object.
    #[error("Cannot read `{}`", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// A name that `meta.yaml` cannot hold.
    #[error("Cannot write the metadata")]
    Meta(#[from] MetaError),
    /// The disk.
    #[error("Cannot publish the companion files")]
    Io(#[from] io::Error),
}

impl Hint for PublishError {}

/// Copies the companions that are there and gives their names.
///
/// A chat template in a file of its own is also put into `tokenizer_config.json`, where ANEMLL's clients look for it.
pub(crate) fn copy_companions(checkpoint: &Path, output: &Path) -> Result<Vec<&'static str>, PublishError> {
    let mut copied = Vec::new();
    for name in COPIED {
        let source = checkpoint.join(name);
        let Ok(metadata) = fs::metadata(&source) else { continue };
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > MAX_COMPANION_BYTES {
            return Err(PublishError::TooLarge { path: source, found: metadata.len() });
        }
        // Read and written anew, so that neither permissions nor links of the source come along.
        fs::write(output.join(name), fs::read(&source)?)?;
        copied.push(name);
    }
    inline_chat_template(output)?;
    Ok(copied)
}

fn inline_chat_template(output: &Path) -> Result<(), PublishError> {
    let config_path = output.join("tokenizer_config.json");
    let (Ok(template), Ok(config)) = (fs::read_to_string(output.join("chat_template.jinja")), fs::read(&config_path))
    else {
        return Ok(());
    };
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(&config);
    let mut config = parsed.map_err(|source| PublishError::Json { path: config_path.clone(), source })?;
    if config.contains_key("chat_template") {
        return Ok(());
    }
    config.insert("chat_template".to_owned(), template.into());
    let text = serde_json::to_string_pretty(&config);
    let text = text.map_err(|source| PublishError::Json { path: config_path.clone(), source })?;
    fs::write(config_path, text + "\n")?;
    Ok(())
}

/// Writes the checksums of every file below `output`, in the form that `sha256sum -c` reads. Those of `known` paths
/// are taken as they are.
pub(crate) fn write_checksums(output: &Path, known: &BTreeMap<PathBuf, String>) -> Result<(), PublishError> {
    // Both forms of a model share their weights; a file is read once, whatever it is called.
    let mut files: BTreeMap<FileIdentity, Vec<String>> = BTreeMap::new();
    for path in files_below(output)? {
        files.entry(FileIdentity::of(output, &path)?).or_default().push(path);
    }
    let files: Vec<Vec<String>> = files.into_values().collect();
    let summed: Vec<Vec<(String, String)>> = files
        .into_par_iter()
        .map(|paths| {
            let Some(first) = paths.first() else { return Ok(Vec::new()) };
            let known = paths.iter().find_map(|path| known.get(&output.join(path)));
            let sum = known.map_or_else(|| checksum(&output.join(first)), |sum| Ok(sum.clone()))?;
            Ok(paths.into_iter().map(|path| (path, sum.clone())).collect())
        })
        .collect::<io::Result<_>>()?;
    let sums: BTreeMap<String, String> = summed.into_iter().flatten().collect();
    let lines: Vec<String> = sums.into_iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect();
    fs::write(output.join(CHECKSUMS), lines.concat())?;
    Ok(())
}

/// What tells files apart: device and number, or the path where there are none.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FileIdentity(u64, u64, String);

impl FileIdentity {
    #[cfg(unix)]
    fn of(directory: &Path, path: &str) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(directory.join(path))?;
        Ok(Self(metadata.dev(), metadata.ino(), String::new()))
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "fails on other systems")]
    fn of(_directory: &Path, path: &str) -> io::Result<Self> {
        Ok(Self(0, 0, path.to_owned()))
    }
}

/// Paths below `directory`, with `/` on every system.
fn files_below(directory: &Path) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let below = entry.path().strip_prefix(directory).expect("a walk stays below where it starts");
            let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
            paths.push(names.join("/"));
        }
    }
    Ok(paths)
}

/// The checksum of a file.
pub(crate) fn checksum(path: &Path) -> io::Result<String> {
    const BUFFER_BYTES: usize = 1 << 20;
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    Ok(hex(hasher.finalize()))
}

/// Bytes as lower-case digits.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    let mut digits = String::new();
    for byte in bytes.as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_sorted_and_cover_nested_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("b")).expect("writable");
        fs::write(directory.path().join("b/x"), "abc").expect("writable");
        fs::write(directory.path().join("a"), "").expect("writable");
        fs::hard_link(directory.path().join("b/x"), directory.path().join("linked")).expect("linkable");
        write_checksums(directory.path(), &BTreeMap::new()).expect("readable");
        let text = fs::read_to_string(directory.path().join(CHECKSUMS)).expect("written");
        assert_eq!(
            text,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b/x\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  linked\n"
        );
    }

    #[test]
    fn a_chat_template_file_reaches_the_tokenizer_config() {
        let (source, output) = (tempfile::tempdir().expect("temporary"), tempfile::tempdir().expect("temporary"));
        fs::write(source.path().join("chat_template.jinja"), "{{ x }}").expect("writable");
        fs::write(source.path().join("tokenizer_config.json"), r#"{"b": 1, "a": 2}"#).expect("writable");
        let copied = copy_companions(source.path(), output.path()).expect("copied");
        assert_eq!(copied, ["chat_template.jinja", "tokenizer_config.json"]);
        let text = fs::read_to_string(output.path().join("tokenizer_config.json")).expect("written");
        assert_eq!(text, "{\n  \"b\": 1,\n  \"a\": 2,\n  \"chat_template\": \"{{ x }}\"\n}\n");
    }
}
