//! A Hugging Face checkpoint directory: its config and its tensors, mapped and read block by block.
//!
//! Owns the way to the files and their safety: nothing outside the directory is opened, every header is checked before
//! its numbers are used, and only the blocks that are asked for are copied. Never knows what a tensor is for; that is the
//! [weight map](crate::model::decoder_plan::WeightMap)'s.
//!
//! As transformers does, `model.safetensors` is taken before an index where a directory has both.

mod directory;
mod error;
mod file_map;
mod rows;
mod shard;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use half::f16;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::directory::Directory;
use self::rows::BadElement;
use self::shard::{Entry, Shard};
use crate::source::config;

pub use self::error::CheckpointError;
pub(crate) use self::error::listed;
pub use self::shard::SourceDtype;

const CONFIG_FILE: &str = "config.json";
const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// An opened checkpoint.
///
/// # Example
/// ```no_run
/// use anec_converter::source::checkpoint::Checkpoint;
///
/// let checkpoint = Checkpoint::open("Qwen3-0.6B".as_ref())?;
/// let mut rows = Vec::new();
/// checkpoint.rows_f16("model.embed_tokens.weight", 0..16, &mut rows)?;
/// checkpoint.release("model.embed_tokens.weight");
/// # Ok::<(), anec_converter::source::checkpoint::CheckpointError>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    directory: Directory,
    config: Map<String, Value>,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug)]
struct Tensor {
    /// Index in `shards`.
    shard: usize,
    entry: Entry,
}

/// What is known of a tensor without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its shape.
    pub shape: &'a [usize],
    /// The file that it is in.
    pub file: &'a Path,
}

/// Rows of a tensor as they are in the file.
struct Elements<'a> {
    entry: &'a Entry,
    dtype: SourceDtype,
    bytes: &'a [u8],
}

/// `model.safetensors.index.json`, as far as it matters.
#[derive(Deserialize)]
struct Index {
    /// Tensor names to file names.
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a directory, reads its config, and checks the headers of all its weight files.
    ///
    /// # Errors
    /// The directory is no checkpoint, or one of a kind that cannot be converted: pickled, GGUF, an adapter, quantized, a
    /// mixture of experts, multimodal. Or a file is missing, damaged, or outside the directory.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let directory = Directory::open(path)?;
        directory.check_kind()?;
        let config = directory.json_object(CONFIG_FILE)?;
        config::check_kind(&config)?;
        let (shards, tensors) = if directory.has(SINGLE_FILE) {
            let (shard, entries) = Shard::open(&directory.file(SINGLE_FILE)?)?;
            let tensors = entries.into_iter().map(|(name, entry)| (name, Tensor { shard: 0, entry })).collect();
            (vec![shard], tensors)
        } else if directory.has(INDEX_FILE) {
            open_shards(&directory)?
        } else {
            return Err(directory.missing_weights());
        };
        Ok(Self { directory, config, shards, tensors })
    }

    /// Reads only the config of a directory, or the config file that `path` is itself. No weights are needed.
    ///
    /// # Errors
    /// There is no config, it is not a JSON object, or it is of a kind that cannot be converted.
    pub fn read_config(path: &Path) -> Result<Map<String, Value>, CheckpointError> {
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let config = match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(parent), Some(name)) if is_json && !path.is_dir() => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                Directory::open(parent)?.json_object(name)?
            }
            _ => {
                let directory = Directory::open(path)?;
                directory.check_kind()?;
                directory.json_object(CONFIG_FILE)?
            }
        };
        config::check_kind(&config)?;
        Ok(config)
    }

    /// The directory as it was given.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The content of config.json.
    pub fn config_json(&self) -> &Map<String, Value> {
        &self.config
    }

    /// The names of all tensors, sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is known of a tensor.
    pub fn tensor(&self, name: &str) -> Option<TensorInfo<'_>> {
        let Tensor { shard, entry } = self.tensors.get(name)?;
        let shard = self.shards.get(*shard)?;
        Some(TensorInfo { shape: &entry.shape, file: &shard.path })
    }

    /// Whether a tensor can be converted; only those that are used have to be.
    ///
    /// # Errors
    /// It has no elements, or elements that are no floats of 16 or 32 bits. A tensor that is not there is a bug of the
    /// caller.
    pub fn check_usable(&self, name: &str) -> Result<(), CheckpointError> {
        let unknown = || CheckpointError::Rows { tensor: name.to_owned(), start: 0, end: 0, found: 0 };
        let Tensor { shard, entry } = self.tensors.get(name).ok_or_else(unknown)?;
        let shard = self.shards.get(*shard).ok_or_else(unknown)?;
        entry.usable(&shard.path, name).map(drop)
    }

    /// Replaces the content of `out` by rows of a tensor, rounded to fp16.
    ///
    /// # Shapes
    /// A row is everything under one index of the first axis: of a `[out, in]` weight `in` elements, of a `[n]` vector
    /// one. A scalar is one row of one element.
    ///
    /// # Errors
    /// A value that is not finite or does not fit fp16. Rows that the tensor does not have are a bug of the caller.
    pub fn rows_f16(&self, name: &str, rows: Range<usize>, out: &mut Vec<f16>) -> Result<(), CheckpointError> {
        let Elements { entry, dtype, bytes } = self.source_rows(name, &rows)?;
        rows::to_f16(dtype, bytes, out).map_err(|bad| bad_element(name, entry, rows.start, &bad))
    }

    /// As [`rows_f16`](Self::rows_f16), in full precision.
    ///
    /// # Errors
    /// A value that is not finite. Rows that the tensor does not have are a bug of the caller.
    pub(crate) fn rows_f32(&self, name: &str, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), CheckpointError> {
        let Elements { entry, dtype, bytes } = self.source_rows(name, &rows)?;
        rows::to_f32(dtype, bytes, out).map_err(|bad| bad_element(name, entry, rows.start, &bad))
    }

    /// Elements of a row of a tensor; 0 of one that is not there.
    pub(crate) fn row_elements(&self, name: &str) -> usize {
        self.tensors.get(name).map_or(0, |tensor| tensor.entry.row_elements())
    }

    /// The bytes of rows of a tensor.
    fn source_rows(&self, name: &str, rows: &Range<usize>) -> Result<Elements<'_>, CheckpointError> {
        let unknown =
            |found| CheckpointError::Rows { tensor: name.to_owned(), start: rows.start, end: rows.end, found };
        let Tensor { shard, entry } = self.tensors.get(name).ok_or_else(|| unknown(0))?;
        if rows.start > rows.end || rows.end > entry.row_count() {
            return Err(unknown(entry.row_count()));
        }
        let bytes =
            entry.bytes.start + rows.start * entry.row_bytes()..entry.bytes.start + rows.end * entry.row_bytes();
        let shard = self.shards.get(*shard).ok_or_else(|| unknown(0))?;
        let dtype = entry.usable(&shard.path, name)?;
        let bytes = shard.map.bytes().get(bytes).ok_or_else(|| unknown(0))?;
        Ok(Elements { entry, dtype, bytes })
    }

    /// Gives the memory of a tensor back to the system; reading it again loads it from disk again.
    pub fn release(&self, name: &str) {
        self.release_rows(name, 0..usize::MAX);
    }

    /// As [`release`](Self::release), for the rows that the tensor has of those given.
    pub fn release_rows(&self, name: &str, rows: Range<usize>) {
        if let Some((shard, bytes)) = self.bytes(name, rows) {
            shard.map.release(bytes);
        }
    }

    /// Asks the system to load rows, those that the tensor has, before they are read; does not wait for it.
    pub fn prefetch_rows(&self, name: &str, rows: Range<usize>) {
        if let Some((shard, bytes)) = self.bytes(name, rows) {
            shard.map.prefetch(bytes);
        }
    }

    /// Where the rows are that a tensor has of those given.
    fn bytes(&self, name: &str, rows: Range<usize>) -> Option<(&Shard, Range<usize>)> {
        let Tensor { shard, entry } = self.tensors.get(name)?;
        let bytes_before = |row: usize| entry.bytes.start + row.min(entry.row_count()) * entry.row_bytes();
        Some((self.shards.get(*shard)?, bytes_before(rows.start)..bytes_before(rows.end)))
    }
}

/// Opens the files of an index and compares their tensors with it, both ways.
fn open_shards(directory: &Directory) -> Result<(Vec<Shard>, BTreeMap<String, Tensor>), CheckpointError> {
    let (path, value) = directory.json(INDEX_FILE)?;
    let Index { weight_map } =
        Index::deserialize(value).map_err(|source| CheckpointError::Json { path: path.clone(), source })?;
    let files: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    let mut shards = Vec::new();
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut missing = BTreeSet::new();
    for file in files {
        let path = match directory.file(file) {
            Err(CheckpointError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                problems.push(format!("`{file}` is missing"));
                missing.insert(file);
                continue;
            }
            path => path?,
        };
        let (shard, entries) = Shard::open(&path)?;
        for (name, entry) in entries {
            match weight_map.get(&name) {
                Some(listed) if listed == file => {
                    tensors.insert(name, Tensor { shard: shards.len(), entry });
                }
                Some(listed) => problems.push(format!("`{name}` is in `{file}`, the index has it in `{listed}`")),
                None => problems.push(format!("`{name}` is in `{file}`, the index does not have it")),
            }
        }
        shards.push(shard);
    }
    for (name, file) in &weight_map {
        if !tensors.contains_key(name) && !missing.contains(file.as_str()) {
            problems.push(format!("`{name}` is not in `{file}`"));
        }
    }
    if problems.is_empty() {
        return Ok((shards, tensors));
    }
    problems.sort();
    Err(CheckpointError::Index { path, problems })
}

/// An element of the rows from `first_row` on that cannot be used.
fn bad_element(name: &str, entry: &Entry, first_row: usize, bad: &BadElement) -> CheckpointError {
    let BadElement { index, value } = *bad;
    let tensor = name.to_owned();
    let position = position(&entry.shape, first_row * entry.row_elements() + index);
    if value.is_finite() {
        CheckpointError::Overflow { tensor, position, value }
    } else {
        CheckpointError::NotFinite { tensor, position, value }
    }
}

/// The index on each axis of an element in row-major order.
fn position(shape: &[usize], mut element: usize) -> Vec<usize> {
    let mut position = Vec::with_capacity(shape.len());
    for &size in shape.iter().rev() {
        position.push(element % size.max(1));
        element /= size.max(1);
    }
    position.reverse();
    position
}

#[cfg(test)]
mod tests;
