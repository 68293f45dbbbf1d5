//! Checksums of everything that a conversion writes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// Name of the checksum file.
pub(crate) const CHECKSUMS: &str = "SHA256SUMS";

/// As much of a checksum file is read; ours have a line for each of some dozens of files.
const MAX_CHECKSUMS_BYTES: u64 = 1 << 24;

/// Writes the checksums of every file below `output`, in the form that `sha256sum -c` reads. Those of `known` paths
/// are taken as they are.
pub(crate) fn write(output: &Path, known: &BTreeMap<PathBuf, String>) -> io::Result<()> {
    // Both forms of a model share their weights; a file is read once, whatever it is called.
    let mut files: BTreeMap<FileIdentity, Vec<String>> = BTreeMap::new();
    for path in files_below(output)? {
        files.entry(FileIdentity::of(output, &path)?).or_default().push(path);
    }
    let files: Vec<Vec<String>> = files.into_values().collect();
    let summed: Vec<Vec<(String, String)>> = files
        .into_par_iter()
        .map(|paths| {
            let first = paths.first().expect("a file has a path");
            let known = paths.iter().find_map(|path| known.get(&output.join(path)));
            let sum = known.map_or_else(|| checksum(&output.join(first)), |sum| Ok(sum.clone()))?;
            Ok(paths.into_iter().map(|path| (path, sum.clone())).collect())
        })
        .collect::<io::Result<_>>()?;
    let sums: BTreeMap<String, String> = summed.into_iter().flatten().collect();
    let lines: Vec<String> = sums.into_iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect();
    fs::write(output.join(CHECKSUMS), lines.concat())?;
    Ok(())
}

/// What of a directory is not as its checksums say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Files that are listed.
    pub(crate) listed: usize,
    /// Paths that are listed and not there.
    pub(crate) missing: Vec<String>,
    /// Paths whose bytes are others.
    pub(crate) changed: Vec<String>,
    /// Paths that are there and not listed, apart from the checksum file itself.
    pub(crate) unlisted: Vec<String>,
}

/// Compares every file below `directory` with its checksum.
///
/// # Errors
/// There is no checksum file, or something cannot be read.
pub(crate) fn changes(directory: &Path) -> io::Result<Changes> {
    let listed = listed(directory)?;
    let found: BTreeSet<String> = files_below(directory)?.into_iter().filter(|path| path != CHECKSUMS).collect();
    let missing = listed.keys().filter(|path| !found.contains(*path)).cloned().collect();
    let unlisted = found.iter().filter(|path| !listed.contains_key(*path)).cloned().collect();
    let here: Vec<(&String, &String)> = listed.iter().filter(|(path, _)| found.contains(*path)).collect();
    let sums: Vec<String> =
        here.par_iter().map(|(path, _)| checksum(&directory.join(path))).collect::<io::Result<_>>()?;
    let differ = here.iter().zip(sums).filter(|((_, listed), sum)| *listed != sum);
    let changed = differ.map(|((path, _), _)| (*path).clone()).collect();
    Ok(Changes { listed: listed.len(), missing, changed, unlisted })
}

/// Checksums by path, as the checksum file of a directory has them.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn listed(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut text = String::new();
    fs::File::open(directory.join(CHECKSUMS))?.take(MAX_CHECKSUMS_BYTES).read_to_string(&mut text)?;
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    Ok(lines.map(|(sum, path)| (path.to_owned(), sum.to_owned())).collect())
}

/// What tells files apart: device and number, or the path where there are none.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FileIdentity(u64, u64, String);

impl FileIdentity {
    #[cfg(unix)]
    fn of(directory: &Path, path: &str) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(directory.join(path))?;
        Ok(Self(metadata.dev(), metadata.ino(), String::new()))
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "fails on other systems")]
    fn of(_directory: &Path, path: &str) -> io::Result<Self> {
        Ok(Self(0, 0, path.to_owned()))
    }
}

/// Paths below `directory`, with `/` on every system.
pub(crate) fn files_below(directory: &Path) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let below = entry.path().strip_prefix(directory).expect("a walk stays below where it starts");
            let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
            paths.push(names.join("/"));
        }
    }
    Ok(paths)
}

/// The checksum of a file.
pub(crate) fn checksum(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    for_each_piece(path, |bytes| hasher.update(bytes))?;
    Ok(base16ct::lower::encode_string(&hasher.finalize()))
}

/// Reads a file piece by piece, through a buffer that stays in the cache.
pub(crate) fn for_each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    const BUFFER_BYTES: usize = 1 << 16;
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        take(buffer.get(..read).expect("no more is read than the buffer holds"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_edited_lost_or_added_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["edited", "kept", "lost"] {
            fs::write(path(name), name).expect("writable");
        }
        write(directory.path(), &BTreeMap::new()).expect("readable");
        assert_eq!(changes(directory.path()).expect("readable"), Changes { listed: 3, ..Changes::default() });
        fs::write(path("edited"), "other").expect("writable");
        fs::remove_file(path("lost")).expect("writable");
        fs::write(path("added"), "").expect("writable");
        let expected = Changes {
            listed: 3,
            missing: vec!["lost".to_owned()],
            changed: vec!["edited".to_owned()],
            unlisted: vec!["added".to_owned()],
        };
        assert_eq!(changes(directory.path()).expect("readable"), expected);
    }

    #[test]
    fn checksums_are_sorted_and_cover_nested_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("b")).expect("writable");
        fs::write(directory.path().join("b/x"), "abc").expect("writable");
        fs::write(directory.path().join("a"), "").expect("writable");
        fs::hard_link(directory.path().join("b/x"), directory.path().join("linked")).expect("linkable");
        write(directory.path(), &BTreeMap::new()).expect("readable");
        let text = fs::read_to_string(directory.path().join(CHECKSUMS)).expect("written");
        assert_eq!(
            text,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b/x\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  linked\n"
        );
    }
}
