//! Compiled models that are kept, so that a package is compiled once for a build of the system.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anec_mil::compiled::COMPILED_EXTENSION;
use fs_err::{self as fs, File};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::failure::FrameworkError;
use super::framework::Framework;

/// Changes when what the cache holds changes its meaning.
const CACHE_VERSION: &str = "1";

/// Bytes that are hashed at a time.
const BLOCK: usize = 1 << 20;

/// A directory of compiled models, by content of the package and build of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileCache {
    root: PathBuf,
}

/// A compiled model that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was compiled just now.
    pub is_fresh: bool,
}

/// A package that cannot be compiled and kept.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file cannot be read or written.
    #[error("Cannot keep the compiled model of {}", package.display())]
    Io {
        /// The package.
        package: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Core ML does not take the package.
    #[error("Cannot compile {}", package.display())]
    Compile {
        /// The package.
        package: PathBuf,
        /// Why.
        #[source]
        source: FrameworkError,
    },
}

impl CompileCache {
    /// The cache in a directory, which is made when it is needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the compiled form of a package is, or would be.
    ///
    /// # Errors
    /// A file of the package cannot be read.
    pub fn place(&self, package: &Path, system: &str) -> io::Result<PathBuf> {
        let mut key = Sha256::new();
        for part in [CACHE_VERSION, system, &content_hash(package)?] {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        Ok(self.root.join(format!("{}.{COMPILED_EXTENSION}", base16ct::lower::encode_string(&key.finalize()))))
    }

    /// The compiled form of a package; compiled where it is not there, or where `fresh` is asked for.
    ///
    /// # Errors
    /// The package cannot be read or compiled, or the directory not written.
    pub fn compiled<F: Framework>(&self, framework: &F, package: &Path, fresh: bool) -> Result<Kept, CacheError> {
        let failed = |source| CacheError::Io { package: package.to_owned(), source };
        let place = self.place(package, &framework.system()).map_err(failed)?;
        if place.is_dir() && !fresh {
            return Ok(Kept { path: place, is_fresh: false });
        }
        let made =
            framework.compile(package).map_err(|source| CacheError::Compile { package: package.to_owned(), source })?;
        keep(&made, &place).map_err(failed)?;
        Ok(Kept { path: place, is_fresh: true })
    }
}

/// Moves a directory to its place, whole or not at all.
fn keep(made: &Path, place: &Path) -> io::Result<()> {
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let partial = place.with_extension(format!("{}.partial", std::process::id()));
    remove(&partial)?;
    // The temporary directory may be on another volume.
    if fs::rename(made, &partial).is_err() {
        copy_directory(made, &partial)?;
        fs::remove_dir_all(made)?;
    }
    remove(place)?;
    fs::rename(&partial, place)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The hash of names and contents of all files of a directory, in hexadecimal. Times and the order on disk do not count.
///
/// # Errors
/// A file cannot be read.
pub fn content_hash(directory: &Path) -> io::Result<String> {
    let mut files = files_below(directory)?;
    files.sort();
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    for (name, path) in files {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(&name);
        let mut content = Sha256::new();
        let mut file = File::open(path)?;
        loop {
            let count = file.read(&mut block)?;
            if count == 0 {
                break;
            }
            content.update(block.get(..count).unwrap_or_default());
        }
        hash.update(content.finalize());
    }
    Ok(base16ct::lower::encode_string(&hash.finalize()))
}

/// Files below a directory: their names from its root, with `/`, and where they are.
fn files_below(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).follow_links(true) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let below = entry.path().strip_prefix(root).expect("a walk stays below where it starts");
            let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
            files.push((names.join("/"), entry.into_path()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            fs::write(path, text).expect("writable");
        }
        directory
    }

    #[test]
    fn keys_follow_from_names_and_contents_alone() {
        let files = [("Manifest.json", "{}"), ("Data/weights/weight.bin", "abc")];
        let hash = |files: &[(&str, &str)]| content_hash(package(files).path()).expect("readable");
        let mut reversed = files;
        reversed.reverse();
        assert_eq!(hash(&files), hash(&reversed));
        for other in [
            [("Manifest.json", "{}"), ("Data/weights/weight.bin", "abd")],
            [("Manifest.json", "{}"), ("Data/weights/other.bin", "abc")],
            [("Manifest.json", "{}a"), ("Data/weights/weight.bin", "bc")],
        ] {
            assert_ne!(hash(&files), hash(&other), "{other:?}");
        }
    }

    #[test]
    fn every_build_of_the_system_has_its_own_models() {
        let package = package(&[("Manifest.json", "{}")]);
        let cache = CompileCache::new("cache");
        let place = |system: &str| cache.place(package.path(), system).expect("readable");
        assert_ne!(place("Version 15.5 (Build 24F74)"), place("Version 15.6 (Build 24G84)"));
        assert_eq!(place("a"), place("a"));
        assert_eq!(place("a").extension().and_then(|extension| extension.to_str()), Some(COMPILED_EXTENSION));
    }
}
