//! The files of a model on disk.

use std::io;
use std::path::{Path, PathBuf};

use anec_mil::package::{PackageFiles, checked_relative_path};
use anec_mil::stored::{StoredModel, StoredModelError};
use fs_err::{self as fs, File};

use crate::pipeline::{member_of, open_member};

/// The directory of a package or a compiled model. Symbolic links are followed within it only, and from a snapshot in a
/// hub's cache to that cache's blobs.
#[derive(Clone, Debug)]
pub struct FsPackage {
    root: PathBuf,
}

impl FsPackage {
    /// The directory at `path`.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn new(path: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(path)?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a directory", root.display())));
        }
        Ok(Self { root })
    }
}

impl PackageFiles for FsPackage {
    type File = File;

    fn open(&self, path: &str) -> io::Result<File> {
        let relative =
            checked_relative_path(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        File::open(within(&self.root, relative)?)
    }
}

/// A path at which there is no model that can be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing there can be read.
    #[error("Cannot open `{}`", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there is no model.
    #[error("Cannot read `{}`", .path.display())]
    Model {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<StoredModelError>,
    },
}

impl OpenError {
    /// That the model at `path` is not usable.
    pub fn model(path: &Path, source: StoredModelError) -> Self {
        Self::Model { path: path.to_owned(), source: Box::new(source) }
    }
}

/// Opens the model at `path` in whichever form it is: a package or a compiled model where it is a directory, a model
/// message where it is a file. The weight files of a message are beside it. `model0` below a pipeline is its first member.
///
/// # Errors
/// There is nothing, or no model.
pub fn open_model(path: &Path) -> Result<StoredModel<FsPackage>, OpenError> {
    match member_of(path) {
        Some((pipeline, index)) => open_member(pipeline, index),
        None => open_stored(path),
    }
}

/// Opens the model at `path` itself.
pub(crate) fn open_stored(path: &Path) -> Result<StoredModel<FsPackage>, OpenError> {
    let io_failed = |source| OpenError::Io { path: path.to_owned(), source };
    let failed = |source| OpenError::model(path, source);
    let real = fs::canonicalize(path).map_err(io_failed)?;
    match (real.is_file(), real.parent(), real.file_name().and_then(|name| name.to_str())) {
        (true, Some(parent), Some(name)) => {
            let files = FsPackage::new(parent).map_err(io_failed)?;
            StoredModel::message(files, name).map_err(failed)
        }
        _ => StoredModel::open(FsPackage::new(&real).map_err(io_failed)?).map_err(failed),
    }
}

/// The real path of a file below `root`, which is real itself.
pub(crate) fn within(root: &Path, relative: &str) -> io::Result<PathBuf> {
    let path = fs::canonicalize(root.join(relative))?;
    if path.starts_with(root) || hub_blobs(root).is_some_and(|blobs| path.parent() == Some(&blobs)) {
        return Ok(path);
    }
    let message = format!("{relative} leads out of {}", root.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// The directory that files of a snapshot link to, where `root` is in one: `blobs` beside `snapshots`.
fn hub_blobs(root: &Path) -> Option<PathBuf> {
    let snapshots = root.ancestors().find(|ancestor| ancestor.file_name().is_some_and(|name| name == "snapshots"))?;
    fs::canonicalize(snapshots.parent()?.join("blobs")).ok()
}
