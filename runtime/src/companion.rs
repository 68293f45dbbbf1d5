//! The files of a tokenizer and of generation that stand beside the packages.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fs_err::File;
use serde::de::DeserializeOwned;

use crate::fs_package::within;

/// A file beside the packages that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// The file cannot be read.
    #[error("Cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than such a file can be.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that are read.
        limit: u64,
    },
    /// The file is no JSON, or a key has the wrong type.
    #[error("{} is malformed", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

/// The text of the file `name`, of at most `limit` bytes; `None` where it is not there.
///
/// # Errors
/// It leads out of the directory, is no regular file, too large, or no text.
pub fn read(directory: &Path, name: &str, limit: u64) -> Result<Option<String>, CompanionError> {
    let path = directory.join(name);
    let root =
        fs_err::canonicalize(directory).map_err(|source| CompanionError::Io { path: directory.to_owned(), source })?;
    let mut text = String::new();
    let read = within(&root, name).and_then(regular).and_then(|file| file.take(limit + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CompanionError::Io { path, source }),
        Ok(length) if length as u64 > limit => Err(CompanionError::TooLarge { path, limit }),
        Ok(_) => Ok(Some(text)),
    }
}

/// Opens a regular file: a pipe would wait for what nobody writes.
fn regular(path: PathBuf) -> io::Result<File> {
    if fs_err::metadata(&path)?.is_file() {
        return File::open(path);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no regular file", path.display())))
}

/// The content of the JSON file `name`; `None` where it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(
    directory: &Path,
    name: &str,
    limit: u64,
) -> Result<Option<T>, CompanionError> {
    let Some(text) = read(directory, name, limit)? else { return Ok(None) };
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(|source| CompanionError::Json { path: directory.join(name), source })
}
