//! The checkpoint directory: which files it has, and the way to them that does not lead out of it.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use anec_runtime::hub_blobs;
use serde_json::{Map, Value};

use super::CheckpointError;

/// The most bytes that are read of config.json or an index; real ones stay below 1 MB and 10 MB.
const JSON_LIMIT: u64 = 64 << 20;

/// Files that make a directory an adapter, whatever else is in it: Hugging Face loaders apply them.
const ADAPTER_FILES: [&str; 3] = ["adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"];

/// A directory, with the places that its files may be in.
#[derive(Debug)]
pub(in crate::source) struct Directory {
    path: PathBuf,
    /// Canonical.
    roots: Vec<PathBuf>,
    /// Names of its entries that are UTF-8, sorted.
    names: Vec<String>,
}

impl Directory {
    pub(in crate::source) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
        if !fs_err::metadata(path).map_err(failed)?.is_dir() {
            return Err(CheckpointError::NotADirectory { path: path.to_owned() });
        }
        let mut names = Vec::new();
        for entry in fs_err::read_dir(path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        let canonical = fs_err::canonicalize(path).map_err(failed)?;
        let mut roots: Vec<PathBuf> = hub_blobs(&canonical).into_iter().collect();
        roots.push(canonical);
        Ok(Self { path: path.to_owned(), roots, names })
    }

    /// The same, with links into these directories followed.
    pub(in crate::source) fn with_links_into(mut self, linked: &[PathBuf]) -> Result<Self, CheckpointError> {
        for path in linked {
            let failed = |source| CheckpointError::Io { path: path.clone(), source };
            self.roots.push(fs_err::canonicalize(path).map_err(failed)?);
        }
        Ok(self)
    }

    pub(in crate::source) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::source) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|other| other == name)
    }

    /// Names of the files with one of these extensions.
    pub(in crate::source) fn with_extension(&self, extensions: &[&str]) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(move |name| has_extension(name, extensions))
    }

    /// Refuses adapters and, where there is no config.json, says what the directory is instead.
    pub(in crate::source) fn check_kind(&self) -> Result<(), CheckpointError> {
        if let Some(file) = ADAPTER_FILES.iter().find(|file| self.has(file)) {
            return Err(CheckpointError::Adapter { directory: self.path.clone(), file: (*file).to_owned() });
        }
        if self.has("config.json") {
            return Ok(());
        }
        Err(self.foreign_weights().unwrap_or_else(|| CheckpointError::MissingConfig { directory: self.path.clone() }))
    }

    /// Why there are neither model.safetensors nor an index.
    pub(in crate::source) fn missing_weights(&self) -> CheckpointError {
        let found: Vec<String> =
            self.names.iter().filter(|name| has_extension(name, &["safetensors"])).cloned().collect();
        let foreign = if found.is_empty() { self.foreign_weights() } else { None };
        foreign.unwrap_or_else(|| CheckpointError::MissingWeights { directory: self.path.clone(), found })
    }

    fn foreign_weights(&self) -> Option<CheckpointError> {
        let pickled = self.names.iter().find(|name| {
            has_extension(name, &["pth", "pt", "ckpt"])
                || (has_extension(name, &["bin"]) && name.starts_with("pytorch_model"))
        })?;
        Some(CheckpointError::Pickled { directory: self.path.clone(), file: pickled.clone() })
    }

    /// The regular file `name`, or an error if it is none, missing, or outside.
    pub(in crate::source) fn file(&self, name: &str) -> Result<PathBuf, CheckpointError> {
        let outside = |target| CheckpointError::Outside { directory: self.path.clone(), name: name.to_owned(), target };
        let relative = Path::new(name);
        let plain = |component| matches!(component, Component::Normal(_));
        if name.is_empty() || !relative.components().all(plain) {
            return Err(outside(None));
        }
        let path = self.path.join(relative);
        let failed = |source| CheckpointError::Io { path: path.clone(), source };
        let target = fs_err::canonicalize(&path).map_err(failed)?;
        if !self.roots.iter().any(|root| target.starts_with(root)) {
            return Err(outside(Some(target)));
        }
        if fs_err::metadata(&target).map_err(failed)?.is_file() {
            Ok(path)
        } else {
            Err(CheckpointError::NotAFile { path })
        }
    }

    /// Reads a JSON file, and gives its path for messages.
    pub(in crate::source) fn json(&self, name: &str) -> Result<(PathBuf, Value), CheckpointError> {
        let path = self.file(name)?;
        let failed = |source| CheckpointError::Io { path: path.clone(), source };
        let file = fs_err::File::open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found > JSON_LIMIT {
            return Err(CheckpointError::TooLarge { path, found, limit: JSON_LIMIT });
        }
        let mut text = Vec::new();
        file.take(JSON_LIMIT).read_to_end(&mut text).map_err(failed)?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok((path, value)),
            Err(source) => Err(CheckpointError::Json { path, source }),
        }
    }

    /// Reads a JSON file that must hold an object.
    pub(in crate::source) fn json_object(&self, name: &str) -> Result<Map<String, Value>, CheckpointError> {
        let (path, value) = self.json(name)?;
        let found = match value {
            Value::Object(map) => return Ok(map),
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
        };
        Err(CheckpointError::NotAnObject { path, found })
    }
}

pub(in crate::source) fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension)))
}
