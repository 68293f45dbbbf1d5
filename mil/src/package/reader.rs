//! Reads packages.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Cursor, Read, Seek};

use anec_schemas::{Manifest, ManifestError};

use super::foreign::Foreign;
use super::model::{Model, ModelError, decode_model, decode_model_with_notes};
use super::path::{PathError, checked_relative_path};
use super::{DATA_DIRECTORY, MANIFEST_PATH};
use crate::blob::{BlobError, BlobFile};

/// The files of a package, by path within it.
///
/// Paths are plain: relative, with forward slashes, without `.` and `..`. Implementations must not follow symbolic
/// links out of the package.
pub trait PackageFiles {
    /// A file that is open.
    type File: Read + Seek;

    /// Opens a file.
    ///
    /// # Errors
    /// There is no such file, or it cannot be opened.
    fn open(&self, path: &str) -> io::Result<Self::File>;
}

/// The files of a model that is not on a disk, by path.
pub type FilesInMemory = BTreeMap<String, Vec<u8>>;

impl PackageFiles for FilesInMemory {
    type File = Cursor<Vec<u8>>;

    fn open(&self, path: &str) -> io::Result<Self::File> {
        self.get(path).cloned().map(Cursor::new).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What every program writes before the path of a weight file, and what stands for the model's directory.
pub(crate) const MODEL_DIRECTORY_PREFIX: &str = "@model_path/";

/// Largest manifest that is read, in bytes; real ones have fewer than a thousand.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Largest model message that is read, in bytes: what protobuf can hold.
pub(crate) const MAX_MODEL_BYTES: u64 = 1 << 31;

/// An open package.
#[derive(Debug)]
pub struct Package<F> {
    files: F,
    manifest: Manifest,
    model_path: String,
}

/// A package that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read.
    #[error("Cannot read `{path}` of the model")]
    Io {
        /// Path within the package.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is larger than such a file can be.
    #[error("`{path}` of the model has more than {limit} bytes")]
    TooLarge {
        /// Path within the package.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// A file that is something else.
    #[error("`{path}` of the model is {found}")]
    Foreign {
        /// Path within the package.
        path: String,
        /// What it is.
        found: Foreign,
    },
    /// The manifest is not usable.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A name that could lead out of the package.
    #[error("The package names a file outside of itself")]
    Path(#[from] PathError),
    /// The model is not usable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A weight file is not usable.
    #[error("Cannot use `{path}` of the model")]
    Blob {
        /// Path within the package.
        path: String,
        /// Why.
        #[source]
        source: BlobError,
    },
}

impl PackageError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Foreign { found, .. } => Some(found.hint()),
            Self::Model(error) => error.hint(),
            _ => None,
        }
    }
}

impl<F: PackageFiles> Package<F> {
    /// Reads the manifest and checks its paths.
    ///
    /// # Errors
    /// The manifest is missing or malformed, or has paths that lead out of the package.
    pub fn open(files: F) -> Result<Self, PackageError> {
        let text = read_limited(&files, MANIFEST_PATH, MAX_MANIFEST_BYTES)?;
        let text = String::from_utf8(text).map_err(|error| PackageError::Io {
            path: MANIFEST_PATH.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })?;
        let manifest = Manifest::from_json(&text)?;
        for item in manifest.item_info_entries.values() {
            checked_relative_path(&item.path)?;
        }
        let root = manifest
            .root_model()
            .ok_or_else(|| ManifestError::NoRootModel { identifier: manifest.root_model_identifier.clone() })?;
        let model_path = format!("{DATA_DIRECTORY}/{}", root.path);
        Ok(Self { files, manifest, model_path })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of the model message within the package.
    pub fn model_path(&self) -> &str {
        &self.model_path
    }

    /// The files.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// The files, of which nothing else is needed.
    pub(crate) fn into_files(self) -> F {
        self.files
    }

    /// The bytes of the model message.
    pub fn model_bytes(&self) -> Result<Vec<u8>, PackageError> {
        read_limited(&self.files, &self.model_path, MAX_MODEL_BYTES)
    }

    /// The model.
    pub fn model(&self) -> Result<Model, PackageError> {
        Ok(decode_model(&self.model_bytes()?)?)
    }

    /// The model as far as it is known, and what is not.
    ///
    /// # Errors
    /// It is missing, malformed, of another kind, or contradicts itself.
    pub fn model_with_notes(&self) -> Result<(Model, Vec<String>), PackageError> {
        Ok(decode_model_with_notes(&self.model_bytes()?)?)
    }

    /// Path within the package of the weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the package.
    pub fn weight_path(&self, name: &str) -> Result<String, PackageError> {
        weight_path(&self.model_path, name)
    }

    /// The weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the package, or the file is missing or not a weight file.
    pub fn weights(&self, name: &str) -> Result<BlobFile<F::File>, PackageError> {
        open_weights(&self.files, &self.model_path, name)
    }
}

/// Path of the weight file that the program at `model_path` calls `name`.
pub(crate) fn weight_path(model_path: &str, name: &str) -> Result<String, PackageError> {
    let relative = checked_relative_path(name.strip_prefix(MODEL_DIRECTORY_PREFIX).unwrap_or(name))?;
    Ok(match model_path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{relative}"),
        None => relative.to_owned(),
    })
}

/// The weight file that the program at `model_path` calls `name`.
pub(crate) fn open_weights<F: PackageFiles>(
    files: &F,
    model_path: &str,
    name: &str,
) -> Result<BlobFile<F::File>, PackageError> {
    let path = weight_path(model_path, name)?;
    let open = || files.open(&path).map_err(|source| PackageError::Io { path: path.clone(), source });
    let mut beginning = Vec::new();
    let read = open()?.take(Foreign::DECIDING_BYTES).read_to_end(&mut beginning);
    read.map_err(|source| PackageError::Io { path: path.clone(), source })?;
    if let Some(found) = Foreign::of(&beginning) {
        return Err(PackageError::Foreign { path, found });
    }
    BlobFile::new(open()?).map_err(|source| PackageError::Blob { path, source })
}

/// Reads a whole file that must not have more than `limit` bytes.
pub(crate) fn read_limited<F: PackageFiles>(files: &F, path: &str, limit: u64) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    let read = files.open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    let length = read.map_err(|source| PackageError::Io { path: path.to_owned(), source })?;
    if let Some(found) = Foreign::of(&bytes) {
        return Err(PackageError::Foreign { path: path.to_owned(), found });
    }
    if length as u64 > limit {
        return Err(PackageError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
