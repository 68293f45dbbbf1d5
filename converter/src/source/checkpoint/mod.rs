//! A checkpoint: its config and its tensors, mapped and read block by block.
//!
//! Owns the way to the files and their safety: nothing outside the directory is opened, every header is checked before
//! its numbers are used, and only the blocks that are asked for are copied. Never knows what a tensor is for; that is the
//! [weight map](crate::model::decoder_plan::WeightMap)'s.
//!
//! Everything that a conversion may start from is a row of `SOURCES`, and a [`Checkpoint`] once
//! it is open: tensors with the names and shapes of transformers, whatever its files call and store.

mod content;
mod decode;
mod directory;
mod error;
mod file_map;
mod prefix;
mod rows;
mod safetensors_directory;
mod shard;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use half::f16;
use serde_json::{Map, Value};

use self::content::{Content, StoredRows};
use self::rows::BadElement;
use crate::source;
use crate::source::generated::GeneratedFiles;

pub(super) use self::content::{Part, Tensor};
pub(super) use self::decode::Decode;
pub use self::decode::DecodeError;
pub(super) use self::directory::{Directory, has_extension};
pub use self::error::CheckpointError;
pub(crate) use self::error::listed;
pub(super) use self::safetensors_directory::SafetensorsDirectory;
pub use self::shard::SourceDtype;
pub(super) use self::shard::{Entry, Shard};

pub(crate) const CONFIG_FILE: &str = "config.json";

/// Files of a checkpoint that clients of the result read.
pub(crate) const COMPANIONS: [&str; 19] = [
    "LICENCE",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "NOTICE.md",
    "NOTICE.txt",
    "USE_POLICY.md",
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

/// The model card of a checkpoint, which is copied under [another name](README_COPY).
pub(crate) const README: &str = "README.md";

/// What the model card of the checkpoint is called beside the models: README.md is the card of the result.
pub(crate) const README_COPY: &str = "README.checkpoint.md";

/// Directory of the chat templates that stand beside the default one, such as `tool_use.jinja`.
pub(crate) const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";

/// Most templates beside the default one.
pub(crate) const MAX_TEMPLATES: usize = 64;

/// Whether a file of a checkpoint is a chat template beside the default one.
pub(crate) fn is_additional_template(name: &str) -> bool {
    let file = name.strip_prefix(ADDITIONAL_TEMPLATES).and_then(|rest| rest.strip_prefix('/'));
    let stem = file.and_then(|file| file.strip_suffix(".jinja"));
    stem.is_some_and(|stem| !stem.contains('/'))
}

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
    pub(super) path: PathBuf,
    pub(super) config: Map<String, Value>,
    pub(super) shards: Vec<Shard>,
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) companions: Companions,
    pub(super) notes: Notes,
}

/// Where the files are that stand beside the weights.
#[derive(Debug)]
pub(super) enum Companions {
    /// In the directory of the weights.
    Beside(Directory),
    /// Links out of the directory of the weights, into others that the user named. They are copied when they are first asked
    /// for as a directory, for what reads one knows no links out of it.
    Linked { directory: Directory, made: OnceLock<source::generated::Made> },
    /// Nowhere: they are made of what the weight file says, when they are first asked for.
    Generated { make: GeneratedFiles, made: OnceLock<source::generated::Made> },
}

/// What the user should hear of a checkpoint that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What was found, in one line, where it is no plain checkpoint.
    pub found: Option<String>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// What is known of a tensor without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its shape.
    pub shape: &'a [usize],
    /// The file that it is in, or the first of its parts.
    pub file: &'a Path,
}

impl Checkpoint {
    /// Opens what is at a path, reads its config, and checks the headers of all its weight files.
    ///
    /// # Errors
    /// There is no checkpoint, or one of a kind that cannot be converted: pickled, an adapter, quantized in a way that is not
    /// known, a mixture of experts, multimodal. Or a file is missing, damaged, or outside the directory.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with_links(path, &[])
    }

    /// As [`Self::open`], and follows links of its files into one of these directories. Others are errors, but for those of
    /// a Hugging Face cache snapshot to its blobs.
    ///
    /// # Errors
    /// As for [`Self::open`], or one of the directories is not there.
    pub fn open_with_links(path: &Path, linked: &[PathBuf]) -> Result<Self, CheckpointError> {
        source::of(path).open(path, linked)
    }

    /// Reads only the config of a checkpoint, or the config file that `path` is itself. No weights are needed.
    ///
    /// # Errors
    /// There is no config, it is not a JSON object, or it is of a kind that cannot be converted.
    pub fn read_config(path: &Path) -> Result<Map<String, Value>, CheckpointError> {
        source::of(path).config(path)
    }

    /// The file `name` beside the weights, such as a tokenizer; none where it is not there. It obeys the rules of weights.
    ///
    /// # Errors
    /// It is no regular file, or a link that leads out of the directory and its Hugging Face blobs.
    pub fn companion(&self, name: &str) -> Result<Option<PathBuf>, CheckpointError> {
        match &self.companions {
            Companions::Beside(directory) | Companions::Linked { directory, .. } => match directory.file(name) {
                Err(CheckpointError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
                path => path.map(Some),
            },
            Companions::Generated { .. } => {
                let path = self.companions()?.join(name);
                Ok(path.is_file().then_some(path))
            }
        }
    }

    /// The directory of the files beside the weights. It is named after the model.
    ///
    /// # Errors
    /// The files have to be made of what the weight file says, and the disk does not take them.
    pub fn companions(&self) -> Result<&Path, CheckpointError> {
        match &self.companions {
            Companions::Beside(directory) => Ok(directory.path()),
            Companions::Linked { directory, made } => {
                if let Some(made) = made.get() {
                    return Ok(made.path());
                }
                let name = directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
                let new = source::generated::Made::copies(&name, &self.companion_files()?)?;
                Ok(made.get_or_init(|| new).path())
            }
            Companions::Generated { make, made } => {
                if let Some(made) = made.get() {
                    return Ok(made.path());
                }
                let new = make.write(&self.config, &self.shards)?;
                Ok(made.get_or_init(|| new).path())
            }
        }
    }

    /// Names and places of the files beside the weights that clients of the result read; none where they have to be made of
    /// what the weight file says.
    ///
    /// # Errors
    /// One of them is no regular file, or a link that leads out of the directory.
    pub(crate) fn companion_files(&self) -> Result<Vec<(String, PathBuf)>, CheckpointError> {
        let (Companions::Beside(directory) | Companions::Linked { directory, .. }) = &self.companions else {
            return Ok(Vec::new());
        };
        let mut names: Vec<String> = COMPANIONS.into_iter().chain([README]).map(str::to_owned).collect();
        if let Ok(entries) = fs_err::read_dir(directory.path().join(ADDITIONAL_TEMPLATES)) {
            let names_of = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            let templates = names_of.map(|name| format!("{ADDITIONAL_TEMPLATES}/{name}"));
            names.extend(templates.filter(|name| is_additional_template(name)).take(MAX_TEMPLATES));
        }
        let mut files = Vec::new();
        for name in names {
            if let Some(path) = self.companion(&name)? {
                files.push((name, path));
            }
        }
        Ok(files)
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the user should hear of it.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Whether every tensor is stored as it is and under its own name, in a directory of safetensors files.
    pub fn is_plain(&self) -> bool {
        let is_plain = |tensor: &Tensor| matches!(tensor.content, Content::Plain(_));
        self.notes.found.is_none() && self.tensors.values().all(is_plain)
    }

    /// The content of config.json, or what a weight file says in its place.
    pub fn config_json(&self) -> &Map<String, Value> {
        &self.config
    }

    /// The names of all tensors, sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is known of a tensor.
    pub fn tensor(&self, name: &str) -> Option<TensorInfo<'_>> {
        let tensor = self.tensors.get(name)?;
        Some(TensorInfo { shape: tensor.shape(), file: &self.shards.get(tensor.shard)?.path })
    }

    /// How the elements of a tensor are stored: their type, or that they are packed.
    pub fn stored_as(&self, name: &str) -> Option<String> {
        Some(match &self.tensors.get(name)?.content {
            Content::Plain(entry) => match &entry.dtype {
                Ok(dtype) => format!("{dtype:?}"),
                Err(other) => other.clone(),
            },
            Content::Decoded { .. } => "packed".to_owned(),
        })
    }

    /// Whether a tensor can be converted; only those that are used have to be.
    ///
    /// # Errors
    /// It has no elements, or elements that are no floats of 16 or 32 bits. A tensor that is not there is a bug of the
    /// caller.
    pub fn check_usable(&self, name: &str) -> Result<(), CheckpointError> {
        let unknown = || CheckpointError::Rows { tensor: name.to_owned(), start: 0, end: 0, found: 0 };
        let tensor = self.tensors.get(name).ok_or_else(unknown)?;
        let shard = self.shards.get(tensor.shard).ok_or_else(unknown)?;
        tensor.check_usable(&shard.path, name)
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
        let (tensor, stored) = self.stored_rows(name, &rows)?;
        let narrowed = match stored {
            StoredRows::Plain { dtype, bytes } => rows::to_f16(dtype, bytes, out),
            StoredRows::Decoded { parts, decoder } => {
                let mut wide = Vec::new();
                decoder.rows(&parts, &rows, &mut wide).map_err(|source| self.undecodable(name, tensor, source))?;
                rows::narrow(&wide, out)
            }
        };
        narrowed.map_err(|bad| bad_element(name, tensor, rows.start, &bad))
    }

    /// As [`rows_f16`](Self::rows_f16), in full precision.
    ///
    /// # Errors
    /// A value that is not finite. Rows that the tensor does not have are a bug of the caller.
    pub fn rows_f32(&self, name: &str, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), CheckpointError> {
        let (tensor, stored) = self.stored_rows(name, &rows)?;
        let widened = match stored {
            StoredRows::Plain { dtype, bytes } => rows::to_f32(dtype, bytes, out),
            StoredRows::Decoded { parts, decoder } => {
                decoder.rows(&parts, &rows, out).map_err(|source| self.undecodable(name, tensor, source))?;
                rows::check_finite(out)
            }
        };
        widened.map_err(|bad| bad_element(name, tensor, rows.start, &bad))
    }

    /// Elements of a row of a tensor; 0 of one that is not there.
    pub(crate) fn row_elements(&self, name: &str) -> usize {
        self.tensors.get(name).map_or(0, Tensor::row_elements)
    }

    /// What rows of a tensor are read from.
    fn stored_rows(&self, name: &str, rows: &Range<usize>) -> Result<(&Tensor, StoredRows<'_>), CheckpointError> {
        let unknown =
            |found| CheckpointError::Rows { tensor: name.to_owned(), start: rows.start, end: rows.end, found };
        let tensor = self.tensors.get(name).ok_or_else(|| unknown(0))?;
        if rows.start > rows.end || rows.end > tensor.row_count() {
            return Err(unknown(tensor.row_count()));
        }
        let shard = self.shards.get(tensor.shard).ok_or_else(|| unknown(0))?;
        tensor.check_usable(&shard.path, name)?;
        let stored = match &tensor.content {
            Content::Plain(entry) => {
                let start = entry.bytes.start;
                let bytes = start + rows.start * entry.row_bytes()..start + rows.end * entry.row_bytes();
                let bytes = shard.map.bytes().get(bytes).ok_or_else(|| unknown(0))?;
                StoredRows::Plain { dtype: entry.usable(&shard.path, name)?, bytes }
            }
            Content::Decoded { parts, decoder, .. } => {
                let bytes = |part: &Part| self.shards.get(part.shard)?.map.bytes().get(part.bytes.clone());
                let parts = parts.iter().map(bytes).collect::<Option<_>>().ok_or_else(|| unknown(0))?;
                StoredRows::Decoded { parts, decoder: decoder.as_ref() }
            }
        };
        Ok((tensor, stored))
    }

    fn undecodable(&self, name: &str, tensor: &Tensor, source: DecodeError) -> CheckpointError {
        let path = self.shards.get(tensor.shard).map_or_else(PathBuf::new, |shard| shard.path.clone());
        CheckpointError::Undecodable { path, tensor: name.to_owned(), source }
    }

    /// Gives the memory of a tensor back to the system; reading it again loads it from disk again.
    pub fn release(&self, name: &str) {
        self.release_rows(name, 0..usize::MAX);
    }

    /// As [`release`](Self::release), for the rows that the tensor has of those given.
    pub fn release_rows(&self, name: &str, rows: Range<usize>) {
        for Part { shard, bytes } in self.spans(name, &rows) {
            if let Some(shard) = self.shards.get(shard) {
                shard.map.release(bytes);
            }
        }
    }

    /// Asks the system to load rows, those that the tensor has, before they are read; does not wait for it.
    pub fn prefetch_rows(&self, name: &str, rows: Range<usize>) {
        for Part { shard, bytes } in self.spans(name, &rows) {
            if let Some(shard) = self.shards.get(shard) {
                shard.map.prefetch(bytes);
            }
        }
    }

    /// Where the rows are that a tensor has of those given.
    fn spans(&self, name: &str, rows: &Range<usize>) -> Vec<Part> {
        self.tensors.get(name).map_or_else(Vec::new, |tensor| tensor.spans(rows))
    }
}

/// An element of the rows from `first_row` on that cannot be used.
fn bad_element(name: &str, tensor: &Tensor, first_row: usize, bad: &BadElement) -> CheckpointError {
    let BadElement { index, value } = *bad;
    let position = position(tensor.shape(), first_row * tensor.row_elements() + index);
    let tensor = name.to_owned();
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
