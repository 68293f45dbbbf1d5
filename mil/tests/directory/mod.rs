//! The files of a directory, for tests over models of others.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anec_mil::package::PackageFiles;

/// A directory whose names are trusted.
pub(crate) struct Directory(pub(crate) PathBuf);

impl PackageFiles for Directory {
    type File = File;

    fn open(&self, path: &str) -> io::Result<File> {
        File::open(self.0.join(path))
    }
}
