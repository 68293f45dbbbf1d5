//! GGUF, the files of llama.cpp: weights, what config.json would say, and the tokenizer, in one file or several.
//!
//! The blocks of quantized tensors are candle's to decode; the header is read here, because candle's reader holds all of
//! it in memory and knows no types that it cannot decode. What a GGUF has and transformers has not (interleaved heads,
//! norms with one added, other names) is undone here, so that a [`Checkpoint`] of a GGUF has the tensors that
//! `save_pretrained` would write.

mod arch;
mod decode;
mod error;
mod header;
mod keys;
mod metadata;
mod rope;
mod split;
mod tokenizer;
mod types;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};

use self::arch::Architecture;
use self::decode::Rows;
use self::header::{Header, TensorEntry};
use self::keys::Keys;
use self::metadata::Metadata;
use self::types::Storage;
use super::checkpoint::{
    Checkpoint, CheckpointError, Companions, Directory, Entry, Notes, Part, Shard, SourceDtype, Tensor, has_extension,
};
use super::generated::{Generate, GeneratedFiles};
use super::{Source, config};

pub use self::error::GgufError;

const EXTENSION: &str = "gguf";

/// Whether an element type of this name is one of GGUF files.
pub(super) fn has_type(name: &str) -> bool {
    types::TYPES.iter().any(|row| row.name == name && row.storage == Storage::Unread) && name.contains(['Q', 'X', 'V'])
}

/// The source.
pub(super) struct Gguf;

impl Source for Gguf {
    /// A file that says so by its name or its first bytes, or a directory that has such files and no others.
    fn recognizes(&self, path: &Path) -> bool {
        if path.is_dir() {
            return Directory::open(path).is_ok_and(|directory| {
                directory.with_extension(&[EXTENSION]).next().is_some()
                    && directory.with_extension(&["safetensors"]).next().is_none()
            });
        }
        let starts_so = || {
            let mut start = [0; 4];
            let read = fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut start));
            read.is_ok() && start == header::MAGIC
        };
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| has_extension(name, &[EXTENSION]))
            || starts_so()
    }

    fn open(&self, path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError> {
        open(path, linked)
    }

    fn config(&self, path: &Path) -> Result<Map<String, Value>, CheckpointError> {
        Ok(open(path, &[])?.config)
    }
}

fn open(path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError> {
    let named = |path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Gguf { path: path.clone(), source: Box::new(source) }
    };
    let first = first_file(path, linked)?;
    let mut shards = vec![open_file(&first)?];
    let mut headers = vec![header::read(shards[0].bytes()).map_err(named(&first))?];
    for file in split::others(&first, &headers[0].metadata).map_err(named(&first))? {
        let shard = match open_file(&file) {
            Err(CheckpointError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let count = split::count(&headers[0].metadata).map_err(named(&first))?;
                return Err(named(&first)(GgufError::Part { file: name, count }));
            }
            shard => shard?,
        };
        headers.push(header::read(shard.bytes()).map_err(named(&file))?);
        shards.push(shard);
    }
    let stored = stored(&headers, &shards)?;
    let failed = named(&first);
    let (architecture, config) = read_config(&headers[0].metadata, shards[0].bytes(), &stored).map_err(&failed)?;
    config::check_kind(&config)?;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &stored {
        let Some((ours, change)) = arch::tensor(architecture, name, &config) else { continue };
        let rows = Rows {
            storage: tensor.storage,
            row_bytes: tensor.row_bytes(),
            row_elements: tensor.entry.shape.iter().skip(1).product(),
            change,
        };
        if tensors.insert(ours.clone(), tensor.content(rows)).is_some() {
            return Err(failed(GgufError::Twice { what: "tensor", name: ours }));
        }
    }
    let tokenizer = tokenizer::Tokenizer::of(&headers[0].metadata, shards[0].bytes());
    let notes = Notes { found: Some(found(architecture, &stored)), warnings: tokenizer.warnings() };
    let make = GeneratedFiles(Box::new(Files { name: model_name(&first), metadata: headers.remove(0).metadata }));
    let companions = Companions::Generated { make, made: OnceLock::new() };
    Ok(Checkpoint { path: path.to_owned(), config, shards, tensors, companions, notes })
}

/// Maps a regular file.
fn open_file(path: &Path) -> Result<Shard, CheckpointError> {
    let metadata = fs_err::metadata(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(CheckpointError::NotAFile { path: path.to_owned() });
    }
    Shard::map(path)
}

/// The file itself, or the only model of a directory.
fn first_file(path: &Path, linked: &[PathBuf]) -> Result<PathBuf, CheckpointError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let directory = Directory::open(path)?.with_links_into(linked)?;
    // Projectors of vision towers stand beside the models that they are for.
    let models = directory.with_extension(&[EXTENSION]).filter(|name| !name.starts_with("mmproj"));
    let models: Vec<&str> = models.filter(|name| split::number(name).is_none_or(|number| number == 1)).collect();
    if let [only] = models.as_slice() {
        return directory.file(only);
    }
    let found = models.into_iter().map(str::to_owned).collect();
    Err(CheckpointError::Gguf { path: path.to_owned(), source: Box::new(GgufError::Several { found }) })
}

/// The models among the files of a repository: one each, and of one in several files the first.
pub(super) fn models_among(files: &BTreeSet<String>) -> Vec<String> {
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
    let is_model = |file: &&String| {
        let name = name(file);
        has_extension(&name, &[EXTENSION])
            && !name.starts_with("mmproj")
            && split::number(&name).is_none_or(|number| number == 1)
    };
    files.iter().filter(is_model).cloned().collect()
}

/// The files of the model that a file is of, in order.
pub(super) fn parts_among(file: &str, files: &BTreeSet<String>) -> Vec<String> {
    let stem = |file: &str| file.rsplit_once('.').and_then(|(stem, _)| split::stem(stem)).map(str::to_owned);
    let Some(wanted) = stem(file) else { return vec![file.to_owned()] };
    files.iter().filter(|other| stem(other).as_ref() == Some(&wanted)).cloned().collect()
}

/// A tensor of one of the files.
struct Stored {
    shard: usize,
    entry: Entry,
    storage: Storage,
    /// The name of its type.
    type_name: String,
}

impl Stored {
    fn row_bytes(&self) -> usize {
        self.entry.row_bytes()
    }

    fn content(&self, rows: Rows) -> Tensor {
        let Entry { shape, dtype, bytes } = &self.entry;
        let is_changed = rows.change != decode::Change::default();
        match self.storage {
            Storage::Blocks(_) => {}
            Storage::Plain(_) if is_changed => {}
            Storage::Plain(_) | Storage::Unread => {
                let entry = Entry { shape: shape.clone(), dtype: dtype.clone(), bytes: bytes.clone() };
                return Tensor::plain(self.shard, entry);
            }
        }
        Tensor::decoded(shape.clone(), vec![Part { shard: self.shard, bytes: bytes.clone() }], Box::new(rows))
    }
}

/// The tensors of all files by their names in them, with their bytes held against the files.
fn stored(headers: &[Header], shards: &[Shard]) -> Result<BTreeMap<String, Stored>, CheckpointError> {
    let mut all = BTreeMap::new();
    for (shard, (header, file)) in headers.iter().zip(shards).enumerate() {
        let failed = |source| CheckpointError::Gguf { path: file.path.clone(), source: Box::new(source) };
        for entry in &header.tensors {
            let tensor = stored_tensor(shard, entry, file)?;
            if all.insert(entry.name.clone(), tensor).is_some() {
                return Err(failed(GgufError::Twice { what: "tensor", name: entry.name.clone() }));
            }
        }
    }
    Ok(all)
}

fn stored_tensor(shard: usize, entry: &TensorEntry, file: &Shard) -> Result<Stored, CheckpointError> {
    let TensorEntry { name, shape, ggml_type, start } = entry;
    let senseless = || CheckpointError::Gguf {
        path: file.path.clone(),
        source: Box::new(GgufError::Shape { tensor: name.clone() }),
    };
    let kind = types::find(*ggml_type);
    let type_name = kind.map_or_else(|| format!("type {ggml_type}"), |kind| kind.name.to_owned());
    let storage = kind.map_or(Storage::Unread, |kind| kind.storage);
    // The product of all axes bounds everything that is computed from a shape later on.
    let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size)).ok_or_else(senseless)?;
    let length = match kind.and_then(types::ElementType::block) {
        Some((block, bytes)) => {
            // Rows are whole numbers of blocks, and vectors are never stored in blocks.
            if block > 1 && shape.len() < 2 || !shape.last().copied().unwrap_or(1).is_multiple_of(block) {
                return Err(senseless());
            }
            (elements / block).checked_mul(bytes).ok_or_else(senseless)?
        }
        None => 0,
    };
    let found = file.bytes().len() as u64;
    let expected = start.checked_add(length as u64).ok_or_else(senseless)?;
    if expected > found {
        return Err(CheckpointError::Length { path: file.path.clone(), expected, found });
    }
    let start = usize::try_from(*start).map_err(|_| senseless())?;
    let dtype = match storage {
        Storage::Plain(dtype) => Ok(dtype),
        Storage::Blocks(_) | Storage::Unread => Err(type_name.clone()),
    };
    let entry = Entry { shape: shape.clone(), dtype, bytes: start..start + length };
    Ok(Stored { shard, entry, storage, type_name })
}

fn read_config(
    metadata: &Metadata,
    bytes: &[u8],
    stored: &BTreeMap<String, Stored>,
) -> Result<(&'static dyn Architecture, Map<String, Value>), GgufError> {
    let shapes: BTreeMap<&str, &[usize]> =
        stored.iter().map(|(name, tensor)| (name.as_str(), tensor.entry.shape.as_slice())).collect();
    let factors = stored.get(arch::ROPE_FACTORS).filter(|tensor| tensor.shard == 0);
    let factors = factors.filter(|tensor| tensor.entry.dtype == Ok(SourceDtype::F32));
    let factors = factors.map(|tensor| {
        let words = bytes.get(tensor.entry.bytes.clone()).unwrap_or_default().as_chunks().0;
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    });
    if factors.is_none() && stored.contains_key(arch::ROPE_FACTORS) {
        return Err(GgufError::RopeFactors { found: "no fp32 of the first file".to_owned() });
    }
    let mut keys = Keys::new(bytes, metadata, &shapes, factors)?;
    let architecture = arch::find(&mut keys)?;
    let config = arch::config(architecture, &mut keys)?;
    Ok((architecture, config))
}

/// What was found, in one line.
fn found(architecture: &dyn Architecture, stored: &BTreeMap<String, Stored>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in stored.values() {
        *counts.entry(&tensor.type_name).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("a GGUF of the architecture `{}`, tensors: {}", architecture.name(), counts.join(", "))
}

/// The name of a model: that of its file, without the number of a part.
fn model_name(first: &Path) -> String {
    let stem = first.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    split::stem(&stem).map_or(stem.clone(), str::to_owned)
}

/// The files that stand beside the weights of other checkpoints.
#[derive(Debug)]
struct Files {
    name: String,
    metadata: Metadata,
}

impl Generate for Files {
    fn model_name(&self) -> String {
        self.name.clone()
    }

    fn files(
        &self,
        config: &Map<String, Value>,
        shards: &[Shard],
    ) -> Result<Vec<(&'static str, String)>, CheckpointError> {
        let Some(first) = shards.first() else { return Ok(Vec::new()) };
        let failed = |source| CheckpointError::Gguf { path: first.path.clone(), source: Box::new(source) };
        let mut files = vec![("config.json", pretty(&Value::Object(config.clone())))];
        let tokenizer = tokenizer::Tokenizer::of(&self.metadata, first.bytes());
        files.extend(tokenizer.files().map_err(failed)?);
        Ok(files)
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
