//! The files of a package on disk.

use std::io;
use std::path::{Path, PathBuf};

use anec_mil::package::{PackageFiles, checked_relative_path};
use fs_err::{self as fs, File};

/// A package directory. Symbolic links are followed within the package only.
#[derive(Clone, Debug)]
pub struct FsPackage {
    root: PathBuf,
}

impl FsPackage {
    /// The package at `path`.
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

/// The real path of a file below `root`, which is real itself.
pub(crate) fn within(root: &Path, relative: &str) -> io::Result<PathBuf> {
    let path = fs::canonicalize(root.join(relative))?;
    if path.starts_with(root) {
        return Ok(path);
    }
    let message = format!("{relative} leads out of {}", root.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}
