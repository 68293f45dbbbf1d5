//! Where models are: what a path holds, by the names and files that tell it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anec_mil::compiled::{COMPILED_EXTENSION, DATA_PATH, PROGRAM_PATH};
use anec_mil::package::{MANIFEST_PATH, PACKAGE_EXTENSION, PROGRAM_KIND};
use anec_runtime::{MemberPath, files_root, pipeline_members};
use fs_err as fs;

/// Extension of a program text.
pub(super) const TEXT: &str = "mil";

/// The extension, if it is one of those that hold programs.
pub(super) fn kind(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?;
    [PACKAGE_EXTENSION, COMPILED_EXTENSION, TEXT].into_iter().find(|known| extension == *known)
}

/// Whether it is a package, whatever it is called.
pub(super) fn is_package(path: &Path) -> bool {
    fs::metadata(path.join(MANIFEST_PATH)).is_ok()
}

/// Whether it is a compiled model, whatever it is called.
pub(super) fn is_compiled(path: &Path) -> bool {
    [PROGRAM_PATH, DATA_PATH].iter().any(|name| fs::metadata(path.join(name)).is_ok())
}

/// Every model that `path` holds: itself, or what is in the directory, or in the directories in it where it holds nothing
/// itself, as those of several context lengths do; by name. None where there is none.
///
/// Of a model that is there as package and compiled, the package is taken: it holds the description too.
///
/// # Errors
/// A directory cannot be read.
pub(super) fn find(path: &Path) -> io::Result<Vec<PathBuf>> {
    if is_model(path)? {
        // Whatever else cannot be read is said where it is opened.
        let members = if kind(path) == Some(TEXT) { Ok(None) } else { pipeline_members(path) };
        return Ok(members.ok().flatten().map_or_else(|| vec![path.to_owned()], |members| programs(&members)));
    }
    let entries = entries(path)?;
    let mut found = models(&entries);
    if found.is_empty() {
        for directory in entries.iter().filter(|entry| entry.is_dir()) {
            found.extend(models(&self::entries(directory)?));
        }
    }
    Ok(found)
}

/// Whether it is a model, or a member of a pipeline.
///
/// # Errors
/// There is nothing.
pub(super) fn is_model(path: &Path) -> io::Result<bool> {
    Ok(files_root(path) != path && !path.exists()
        || !fs::metadata(path)?.is_dir()
        || kind(path).is_some()
        || is_package(path)
        || is_compiled(path))
}

/// The members that are ML Programs.
pub(super) fn programs(members: &[MemberPath]) -> Vec<PathBuf> {
    members.iter().filter(|member| member.kind == PROGRAM_KIND).map(|member| member.path.clone()).collect()
}

/// What is in a directory, by name.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort_unstable();
    Ok(entries)
}

/// The models among `entries`, each once.
fn models(entries: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: BTreeMap<PathBuf, &PathBuf> = BTreeMap::new();
    for entry in entries {
        // A text alone belongs to what it lies in; with a directory of its own it is a model.
        let extension = kind(entry).filter(|extension| *extension != TEXT || is_compiled(entry));
        if extension == Some(PACKAGE_EXTENSION) || extension.is_some() && !found.contains_key(&entry.with_extension(""))
        {
            found.insert(entry.with_extension(""), entry);
        }
    }
    found.into_values().cloned().collect()
}
