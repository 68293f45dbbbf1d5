//! Models that others made: where they are, and their files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anec_mil::package::PackageFiles;

/// A directory whose names are trusted.
pub(crate) struct Directory(pub(crate) PathBuf);

impl PackageFiles for Directory {
    type File = File;

    fn open(&self, path: &str) -> io::Result<File> {
        File::open(self.0.join(path))
    }
}

/// Everything that `is_sample` below the directory that `ANEC_SAMPLES` names, in order; nothing where it names none. What is
/// in a sample is not looked at.
pub(crate) fn samples(is_sample: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let found = samples_if_any(is_sample);
    assert!(!found.is_empty() || std::env::var_os("ANEC_SAMPLES").is_none(), "nothing to test below `ANEC_SAMPLES`");
    found
}

/// As [`samples`], of a kind that need not be there.
pub(crate) fn samples_if_any(is_sample: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let Some(root) = std::env::var_os("ANEC_SAMPLES") else { return Vec::new() };
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from(&root)]);
    while let Some(path) = left.pop() {
        if is_sample(&path) {
            found.push(path);
        } else if path.is_dir() {
            left.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
    }
    found.sort();
    found
}
