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

/// The store that the files of a snapshot in a Hugging Face cache are links into, where `root`, a real path, is one or below
/// one.
///
/// # Source
/// huggingface_hub's cache: `models--<owner>--<name>/snapshots/<commit>/<file>` links to a file in `../../blobs`.
pub fn hub_blobs(root: &Path) -> Option<PathBuf> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let snapshots = root.ancestors().find(|path| name(path) == "snapshots")?;
    let repository = snapshots.parent().filter(|path| name(path).starts_with("models--"))?;
    fs::canonicalize(repository.join("blobs")).ok().filter(|blobs| blobs.starts_with(repository))
}

/// The real path of a file below `root`, which is real itself, or in the blobs of the Hugging Face cache that it is in.
pub(crate) fn within(root: &Path, relative: &str) -> io::Result<PathBuf> {
    let path = fs::canonicalize(root.join(relative))?;
    if path.starts_with(root) || hub_blobs(root).is_some_and(|blobs| path.starts_with(blobs)) {
        return Ok(path);
    }
    let message = format!("{relative} leads out of {}", root.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(all(test, unix))]
mod tests {
    use fs_err::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_of_a_snapshot_may_be_links_to_the_blobs_of_its_cache_and_to_nothing_else() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let repository = cache.path().join("models--owner--name");
        let (blobs, package) = (repository.join("blobs"), repository.join("snapshots/0123/a.mlpackage/Data"));
        fs::create_dir_all(&blobs).expect("a directory");
        fs::create_dir_all(&package).expect("a directory");
        fs::write(blobs.join("aa"), "content").expect("a file");
        fs::write(cache.path().join("secret"), "content").expect("a file");
        symlink(blobs.join("aa"), package.join("weights")).expect("a link");
        symlink(cache.path().join("secret"), package.join("elsewhere")).expect("a link");
        let root = fs::canonicalize(package.parent().expect("a parent")).expect("a path");
        assert!(within(&root, "Data/weights").is_ok());
        let error = within(&root, "Data/elsewhere").expect_err("a link out");
        assert!(error.to_string().contains("Data/elsewhere leads out of"), "{error}");
    }
}
