//! What a conversion starts from: tensors and a config, whatever files they come in.
//!
//! A kind of checkpoint is a `Source` and a row of `SOURCES`. All of them open as a
//! [`checkpoint::Checkpoint`], so nothing outside of this module knows which it is.

mod beside;
pub mod checkpoint;
pub mod config;
pub(crate) mod flat;
mod generated;
pub mod gguf;
pub mod hub;
pub mod llama2c;
mod oracle;
mod quantized;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::checkpoint::{Checkpoint, CheckpointError, SafetensorsDirectory};
pub(crate) use self::oracle::open_for_oracle;

/// A kind of checkpoint.
trait Source: Sync {
    /// Whether a path is of this kind, or looks as if it were meant to be.
    fn recognizes(&self, path: &Path) -> bool;

    /// Opens it. Links of its files into one of the `linked` directories are followed.
    fn open(&self, path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError>;

    /// Its config alone; weights need not be there.
    fn config(&self, path: &Path) -> Result<Map<String, Value>, CheckpointError>;
}

/// All kinds. The last recognizes every path, and says what is wrong with one that is none.
static SOURCES: &[&dyn Source] = &[&gguf::Gguf, &flat::Flat, &llama2c::Llama2c, &SafetensorsDirectory];

/// The kind of a path.
fn of(path: &Path) -> &'static dyn Source {
    SOURCES.iter().copied().find(|source| source.recognizes(path)).unwrap_or(&SafetensorsDirectory)
}

/// Whether a file is a checkpoint by itself, by what it is called or starts with.
pub(crate) fn is_checkpoint_file(path: &Path) -> bool {
    path.is_file() && SOURCES.split_last().is_some_and(|(_, files)| files.iter().any(|source| source.recognizes(path)))
}
