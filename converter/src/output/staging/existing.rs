//! What is at an output already, and whether all of it is ours to replace.

use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

use anec_mil::compiled::{ANALYTICS_PATH, DATA_PATH, METADATA_PATH, PROGRAM_PATH};
use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, WEIGHTS_DIRECTORY};
use anec_schemas::report::{REPORT_HTML, REPORT_JSON};
use fs_err as fs;

use super::Kind;
use crate::output::checksums::{self, CHECKSUMS};
use crate::output::parts::{CALIBRATION, CALIBRATION_JSON, FRAME, PART_JSON, WEIGHTS_BIN};

/// What `anec verify` and file managers put beside what was converted.
pub(crate) const BESIDE: [&str; 4] = [CHECKSUMS, REPORT_JSON, REPORT_HTML, ".DS_Store"];

/// Files and directories of a part of a conversion.
const PART_FILES: [&str; 4] = [PART_JSON, CALIBRATION_JSON, WEIGHTS_BIN, ".DS_Store"];
const PART_DIRECTORIES: [&str; 2] = [FRAME, CALIBRATION];

/// Every file of a compiled model but its weights.
const COMPILED: [&str; 4] = [PROGRAM_PATH, DATA_PATH, ANALYTICS_PATH, METADATA_PATH];

/// Where a compiled model has its weights.
const COMPILED_WEIGHTS: &str = "weights/";

/// The first thing at `output` that anec did not write; `None` where all of it is an output of this kind.
///
/// A link is never ours: what it leads to may be anybody's.
///
/// # Errors
/// Something cannot be read.
pub(super) fn foreign(kind: Kind, output: &Path) -> io::Result<Option<PathBuf>> {
    if !fs::symlink_metadata(output)?.is_dir() {
        return Ok(Some(output.to_owned()));
    }
    match kind {
        Kind::Compiled if !output.join(DATA_PATH).is_file() => Ok(Some(output.to_owned())),
        Kind::Compiled => {
            first_file(output, "", &|path| COMPILED.contains(&path) || path.starts_with(COMPILED_WEIGHTS))
        }
        Kind::Package if !output.join(MANIFEST_PATH).is_file() => Ok(Some(output.to_owned())),
        Kind::Package => first_file(output, "", &|path| {
            [MANIFEST_PATH, MODEL_PATH].contains(&path) || path.starts_with(&format!("{WEIGHTS_DIRECTORY}/"))
        }),
        Kind::Part if !is_part(output) => Ok(Some(output.to_owned())),
        Kind::Part => first_file(output, "", &|path| {
            PART_FILES.contains(&path) || PART_DIRECTORIES.iter().any(|name| path.starts_with(&format!("{name}/")))
        }),
        Kind::Converted if output.join(CHECKSUMS).is_file() => foreign_in_converted(output),
        Kind::Converted => foreign_in_contexts(output),
    }
}

/// Whether a directory is a part of a conversion.
fn is_part(output: &Path) -> bool {
    [PART_JSON, CALIBRATION_JSON].iter().any(|name| output.join(name).is_file())
}

/// Of a directory with checksums, which list every file of a conversion.
fn foreign_in_converted(output: &Path) -> io::Result<Option<PathBuf>> {
    let listed = checksums::listed(output)?;
    first_file(output, "", &|path| BESIDE.contains(&path) || listed.contains_key(path))
}

/// The files of an earlier conversion, by their paths from `output`, that were edited since it was written. Large files are
/// read only where they are younger than the checksums.
///
/// # Errors
/// Something cannot be read.
pub(super) fn edited(output: &Path) -> io::Result<Vec<String>> {
    if output.join(CHECKSUMS).is_file() {
        return edited_in_converted(output, "");
    }
    let mut edited = Vec::new();
    for (path, name, kind) in entries(output)? {
        if kind.is_dir() && path.join(CHECKSUMS).is_file() {
            edited.extend(edited_in_converted(&path, &format!("{name}/"))?);
        }
    }
    Ok(edited)
}

fn edited_in_converted(directory: &Path, prefix: &str) -> io::Result<Vec<String>> {
    /// Most bytes of a file that is read whatever its age.
    const SMALL: u64 = 1 << 20;
    let written = fs::metadata(directory.join(CHECKSUMS))?.modified()?;
    let mut edited = Vec::new();
    for (path, sum) in checksums::listed(directory)? {
        let file = directory.join(&path);
        let Ok(metadata) = fs::symlink_metadata(&file) else { continue };
        let is_suspect = metadata.len() <= SMALL || metadata.modified()? > written;
        if metadata.is_file() && is_suspect && checksums::checksum(&file)? != sum {
            edited.push(format!("{prefix}{path}"));
        }
    }
    Ok(edited)
}

/// Of a directory that holds conversions, one for each context length, and nothing else.
fn foreign_in_contexts(output: &Path) -> io::Result<Option<PathBuf>> {
    let mut contexts = 0;
    for (path, name, kind) in entries(output)? {
        if kind.is_dir() && path.join(CHECKSUMS).is_file() {
            contexts += 1;
            if let Some(foreign) = foreign_in_converted(&path)? {
                return Ok(Some(foreign));
            }
        } else if !BESIDE.contains(&name.as_str()) {
            return Ok(Some(path));
        }
    }
    Ok((contexts == 0).then(|| output.to_owned()))
}

/// The first file below `directory` that is not `ours`, by its path from the top.
fn first_file(directory: &Path, prefix: &str, ours: &dyn Fn(&str) -> bool) -> io::Result<Option<PathBuf>> {
    for (path, name, kind) in entries(directory)? {
        let relative = format!("{prefix}{name}");
        let found = if kind.is_dir() {
            first_file(&path, &format!("{relative}/"), ours)?
        } else {
            (!kind.is_file() || !ours(&relative)).then_some(path)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Path, name and kind of what is in a directory, in order. A link is a link, whatever it leads to.
fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, String, FileType)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        entries.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), entry.file_type()?));
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}
