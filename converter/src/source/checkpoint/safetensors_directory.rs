//! A directory of safetensors files with a config.json, as `save_pretrained` writes it and the hub has it.
//!
//! As transformers does, `model.safetensors` is taken before an index where a directory has both.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CONFIG_FILE, Checkpoint, CheckpointError, Companions, Directory, Entry, Notes, Shard, Tensor, prefix};
use crate::source::{Source, config, quantized};

pub(super) const SINGLE_FILE: &str = "model.safetensors";
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// The source.
pub(in crate::source) struct SafetensorsDirectory;

/// `model.safetensors.index.json`, as far as it matters.
#[derive(Deserialize)]
struct Index {
    /// Tensor names to file names.
    weight_map: BTreeMap<String, String>,
}

/// A tensor of a file, by the file's index.
pub(super) type StoredTensors = BTreeMap<String, (usize, Entry)>;

impl Source for SafetensorsDirectory {
    fn recognizes(&self, _path: &Path) -> bool {
        true
    }

    fn open(&self, path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError> {
        let directory = Directory::open(path)?.with_links_into(linked)?;
        directory.check_kind()?;
        let mut config = directory.json_object(CONFIG_FILE)?;
        let scheme = quantized::take(&mut config)?;
        config::check_kind(&config)?;
        let (shards, stored) = if directory.has(SINGLE_FILE) {
            let (shard, entries) = Shard::open(&directory.file(SINGLE_FILE)?)?;
            (vec![shard], entries.into_iter().map(|(name, entry)| (name, (0, entry))).collect())
        } else if directory.has(INDEX_FILE) {
            open_shards(&directory)?
        } else {
            return Err(directory.missing_weights());
        };
        let (stored, prefix) = prefix::without_known(stored);
        let tensors = if let Some(scheme) = &scheme {
            quantized::tensors(scheme.as_ref(), stored, &shards)?
        } else {
            stored.into_iter().map(|(name, (shard, entry))| (name, Tensor::plain(shard, entry))).collect()
        };
        let found: Vec<String> = scheme.map(|scheme| scheme.found()).into_iter().chain(prefix).collect();
        let found = (!found.is_empty()).then(|| found.join("; "));
        let notes = Notes { found, ..Notes::default() };
        let path = path.to_owned();
        let companions = match linked {
            [] => Companions::Beside(directory),
            _ => Companions::Linked { directory, made: OnceLock::new() },
        };
        Ok(Checkpoint { path, config, shards, tensors, companions, notes })
    }

    fn config(&self, path: &Path) -> Result<Map<String, Value>, CheckpointError> {
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let mut config = match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
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
        quantized::take(&mut config)?;
        config::check_kind(&config)?;
        Ok(config)
    }
}

/// Opens the files of an index and compares their tensors with it, both ways.
fn open_shards(directory: &Directory) -> Result<(Vec<Shard>, StoredTensors), CheckpointError> {
    let (path, value) = directory.json(INDEX_FILE)?;
    let Index { weight_map } =
        Index::deserialize(value).map_err(|source| CheckpointError::Json { path: path.clone(), source })?;
    let files: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    let mut shards = Vec::new();
    let mut tensors = StoredTensors::new();
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
                    tensors.insert(name, (shards.len(), entry));
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
