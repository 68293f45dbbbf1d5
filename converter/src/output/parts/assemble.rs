//! Parts to a conversion, byte by byte what one machine writes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::{FRAME, PART_JSON, PartError, PartFile, WEIGHTS_BIN};
use crate::output::checksums;
use crate::output::companions;
use crate::output::forms::FORMS;
use crate::output::link::link_or_copy;
use crate::output::weight_places::{WeightPaths, take_out};

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

/// What the name of a weight file ends in that is in the output by blobs alone.
const WHOLE: &str = ".whole";

/// What of a weight file is not data, for each blob: its record, and padding on both sides.
const MOST_BETWEEN_SPANS: u64 = 256;

/// What was put together.
pub(crate) struct Assembled {
    /// How many parts there were.
    pub(crate) parts: usize,
    /// Bytes of all weight files.
    pub(crate) bytes: u64,
}

/// Puts parts together below `output`, which is there and empty.
///
/// # Errors
/// Parts are missing, damaged, or of different conversions; or the disk.
pub(crate) fn assemble(parts: &[PathBuf], output: &Path, progress: &ProgressBar) -> Result<Assembled, PartError> {
    let parts = opened(parts)?;
    let Some((first_path, first)) = parts.values().next() else { return Err(PartError::None) };
    copy_frame(&first_path.join(FRAME), output)?;
    progress.set_length(parts.values().filter_map(|(_, part)| part.bytes()).sum());
    check_coverage(&parts)?;
    for file in &first.files {
        let path = whole(file).map(|path| output.join(path));
        let path = path.ok_or_else(|| damaged(first_path, "a file without a path"))?;
        fs::create_dir_all(path.parent().unwrap_or(output))?;
        fs::File::create_new(path)?.set_len(file.size)?;
    }
    for (path, part) in parts.values() {
        copy_weights(path, part, output, progress)?;
    }
    for file in &first.files {
        let Some(written) = whole(file).map(|path| output.join(path)) else { continue };
        fs::File::open(&written)?.sync_all()?;
        for other in file.paths.iter().skip(1) {
            link_or_copy(&written, &output.join(other))?;
        }
        for blob in &file.blobs {
            let Some((alone, others)) = blob.paths.split_first() else { continue };
            take_out(&written, blob.record, &output.join(alone))?;
            for other in others {
                link_or_copy(&output.join(alone), &output.join(other))?;
            }
        }
        if file.paths.is_empty() {
            fs::remove_file(&written)?;
        }
        let blobs = file.blobs.first().and_then(|blob| blob.paths.first());
        for path in file.paths.first().into_iter().chain(blobs) {
            read_back(output, path)?;
        }
    }
    progress.set_message("checksums");
    if let Some((longest, others)) = first.directories.split_first() {
        for other in others {
            companions::share(&output.join(longest), &output.join(other))?;
        }
    }
    for directory in &first.directories {
        checksums::write(&output.join(directory), &BTreeMap::new())?;
    }
    Ok(Assembled { parts: parts.len(), bytes: first.files.iter().map(|file| file.size).sum() })
}

/// The parts by their numbers; all of one conversion, and none missing.
fn opened(paths: &[PathBuf]) -> Result<BTreeMap<u32, (PathBuf, PartFile)>, PartError> {
    let mut parts: BTreeMap<u32, (PathBuf, PartFile)> = BTreeMap::new();
    for path in paths {
        let part = PartFile::open(path)?;
        check(path, &part)?;
        if let Some((_, first)) = parts.values().next()
            && (&first.identity, first.of, &first.files) != (&part.identity, part.of, &part.files)
        {
            return Err(PartError::Different { path: path.clone(), program: part.program });
        }
        // One that is given twice is there once.
        parts.insert(part.part, (path.clone(), part));
    }
    let Some(of) = parts.values().next().map(|(_, part)| part.of) else { return Err(PartError::None) };
    let missing: Vec<u32> = (1..=of).filter(|number| !parts.contains_key(number)).collect();
    if missing.is_empty() { Ok(parts) } else { Err(PartError::Missing { missing, of }) }
}

/// Where a weight file is put together: at its first path, or beside its first blob where it goes again.
fn whole(file: &WeightPaths) -> Option<String> {
    let beside = || Some(format!("{}{WHOLE}", file.blobs.first()?.paths.first()?));
    file.paths.first().cloned().or_else(beside)
}

fn damaged(path: &Path, message: &str) -> PartError {
    PartError::Damaged { path: path.join(PART_JSON), message: message.to_owned() }
}

/// Requires that paths stay in the output and that bytes stay in their files.
fn check(path: &Path, part: &PartFile) -> Result<(), PartError> {
    let is_below = |path: &str| {
        !path.is_empty() && Path::new(path).components().all(|component| matches!(component, Component::Normal(_)))
    };
    if part.part == 0 || part.part > part.of {
        return Err(damaged(path, "its number is not one of its parts"));
    }
    let mut seen = BTreeSet::new();
    let mut paths = part.files.iter().flat_map(WeightPaths::all);
    if !paths.all(|path| is_below(path) && seen.insert(path)) {
        return Err(damaged(path, "a path leads out of the output, or is there twice"));
    }
    if !part.directories.iter().all(|directory| directory.is_empty() || is_below(directory)) {
        return Err(damaged(path, "a directory leads out of the output"));
    }
    if part.part == 1 && part.directories.is_empty() {
        return Err(damaged(path, "the first part names no directory"));
    }
    let fits = |(file, start, end): &(usize, u64, u64)| {
        start < end && part.files.get(*file).is_some_and(|file| *end <= file.size)
    };
    if !part.spans.iter().all(fits) || part.bytes().is_none() {
        return Err(damaged(path, "bytes that are in no weight file"));
    }
    Ok(())
}

/// Requires that no byte comes twice, and that none is missing but padding.
fn check_coverage(parts: &BTreeMap<u32, (PathBuf, PartFile)>) -> Result<(), PartError> {
    let mut spans: Vec<(usize, u64, u64)> = parts.values().flat_map(|(_, part)| part.spans.iter().copied()).collect();
    spans.sort_unstable();
    let Some((path, first)) = parts.values().next() else { return Ok(()) };
    let mut ends = vec![0; first.files.len()];
    for (file, start, end) in spans {
        let Some(last) = ends.get_mut(file) else { continue };
        if start < *last {
            return Err(damaged(path, "two parts have the same bytes"));
        }
        if start - *last > MOST_BETWEEN_SPANS {
            return Err(damaged(path, "no part has some of the bytes"));
        }
        *last = end;
    }
    let is_whole = |(end, file): (&u64, &WeightPaths)| file.size.saturating_sub(*end) <= MOST_BETWEEN_SPANS;
    if ends.iter().zip(&first.files).all(is_whole) {
        Ok(())
    } else {
        Err(damaged(path, "no part has some of the bytes"))
    }
}

/// Copies the frame; links in it are none of ours.
fn copy_frame(frame: &Path, output: &Path) -> Result<(), PartError> {
    let failed = |source: io::Error| PartError::Read { path: frame.to_owned(), source };
    for entry in WalkDir::new(frame).min_depth(1) {
        let entry = entry.map_err(|error| failed(error.into()))?;
        let below = entry.path().strip_prefix(frame).unwrap_or(Path::new(""));
        let to = output.join(below);
        if entry.file_type().is_dir() {
            fs::create_dir_all(to)?;
        } else if entry.file_type().is_file() {
            // Read and written anew, so that permissions do not come along.
            fs::write(to, fs::read(entry.path())?)?;
        } else {
            let message = format!("`{}` is neither a file nor a directory", below.display());
            return Err(PartError::Damaged { path: frame.to_owned(), message });
        }
    }
    Ok(())
}

/// Brings the bytes of a part to their places, and holds them against their checksum.
fn copy_weights(path: &Path, part: &PartFile, output: &Path, progress: &ProgressBar) -> Result<(), PartError> {
    let source = path.join(WEIGHTS_BIN);
    let failed = |error: io::Error| PartError::Read { path: source.clone(), source: error };
    let wrong = |message: &str| PartError::Damaged { path: source.clone(), message: message.to_owned() };
    let mut from = fs::File::open(&source).map_err(failed)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut open: Option<(usize, fs::File)> = None;
    for (file, start, end) in &part.spans {
        if open.as_ref().is_none_or(|(opened, _)| opened != file) {
            let name = part.files.get(*file).and_then(whole);
            let name = name.ok_or_else(|| damaged(path, "bytes of a file that is not there"))?;
            open = Some((*file, fs::OpenOptions::new().write(true).open(output.join(name))?));
        }
        let Some((_, to)) = &mut open else { continue };
        to.seek(SeekFrom::Start(*start))?;
        let mut left = end - start;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = from.read(piece.get_mut(..most).unwrap_or_default()).map_err(failed)?;
            if read == 0 {
                return Err(wrong("it ends too early"));
            }
            let bytes = piece.get(..read).unwrap_or_default();
            digest.update(bytes);
            to.write_all(bytes)?;
            progress.inc(read as u64);
            left -= read as u64;
        }
    }
    if from.read(piece.get_mut(..1).unwrap_or_default()).map_err(failed)? != 0 {
        return Err(wrong("it goes on after its last byte"));
    }
    if base16ct::lower::encode_string(&digest.finalize()) != part.sha256 {
        return Err(wrong("its SHA-256 is not the one in its description"));
    }
    Ok(())
}

/// Opens the model that a weight file belongs to, as any reader would.
fn read_back(output: &Path, weights: &str) -> Result<(), PartError> {
    let mut model = PathBuf::new();
    for component in Path::new(weights) {
        model.push(component);
        let form = FORMS.iter().find(|form| model.extension().is_some_and(|extension| extension == form.name()));
        if let Some(form) = form {
            return Ok(form.read_back(&output.join(model))?);
        }
    }
    Ok(())
}
