//! An output directory that appears whole or not at all, and the unfinished one that `--resume` continues.
//!
//! Everything is written into a work directory beside the output, flushed to disk and renamed into place. For an output
//! `model` that is `.model.partial`, with
//!
//! - `journal`: which parts are finished; while a process works here it holds a lock on this file;
//! - `calibration`: what was calibrated so far;
//! - `output`: the output so far;
//! - `replaced`: while publishing, what the output replaces.
//!
//! An interrupt, a kill and a full disk leave the work directory for `--resume`; other failures remove it. An output that
//! exists is replaced only when asked, and only at the end.

mod existing;
mod identity;
mod journal;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use self::journal::OpenError;
use crate::error::Hint;
use crate::output::forms::FORMS;
use crate::output::parts::FRAME;

pub(crate) use self::existing::BESIDE;
pub(crate) use self::identity::Identity;
pub(crate) use self::journal::{FinishedPart, Journal};

const JOURNAL: &str = "journal";
const CALIBRATION: &str = "calibration";
const OUTPUT: &str = "output";
const REPLACED: &str = "replaced";

/// Why an output cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// Something is there already.
    #[error("Cannot write `{}`: it exists", .path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The path has no name, such as `/`.
    #[error("Cannot write `{}`: it does not name a directory", .path.display())]
    Unnamed {
        /// The output.
        path: PathBuf,
    },
    /// `--force` was given, but something would be lost that is not an output of anec.
    #[error("Cannot replace `{}`: anec did not write `{}`", .path.display(), .found.display())]
    Foreign {
        /// The output.
        path: PathBuf,
        /// What anec did not write.
        found: PathBuf,
    },
    /// Another process writes the same output.
    #[error("Cannot write in `{}`: another conversion is at work there", .path.display())]
    Busy {
        /// The work directory.
        path: PathBuf,
    },
    /// The work directory belongs to another conversion.
    #[error("Cannot resume `{}`: it was begun with {difference}", .path.display())]
    Different {
        /// The work directory.
        path: PathBuf,
        /// What differs.
        difference: &'static str,
    },
    /// The disk.
    #[error("Cannot write the output")]
    Io(#[from] io::Error),
}

impl Hint for StagingError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("choose another directory with `-o`, or replace it with `--force`".to_owned()),
            Self::Foreign { .. } => Some("move it away yourself, or choose another directory with `-o`".to_owned()),
            Self::Busy { .. } => Some("wait for it, or choose another directory with `-o`".to_owned()),
            Self::Different { .. } => Some("start over without `--resume`".to_owned()),
            Self::Unnamed { .. } | Self::Io(_) => None,
        }
    }
}

/// What to do with an unfinished output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// Go on with it, where there is one.
    Resume,
    /// Start over.
    Discard,
}

/// What is made, and so what may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A converted model, or one for each of several context lengths.
    Converted,
    /// A compiled model.
    Compiled,
    /// A package.
    Package,
    /// A part of a conversion.
    Part,
}

/// What an earlier attempt left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing, or something unfinished.
    Unfinished,
    /// A finished output: only its work directory was still there, and is no more.
    Published,
}

/// An output under construction.
#[derive(Debug)]
pub(crate) struct Staging {
    kind: Kind,
    output: PathBuf,
    work: PathBuf,
    journal: Journal,
    /// Whether an output that exists is replaced.
    force: bool,
    /// Whether the work directory outlives this value.
    keep: bool,
}

impl Staging {
    /// Whether an output may be written, before any work is done; sets right what an attempt left that ended while it was
    /// publishing.
    ///
    /// # Errors
    /// The output exists and `force` is not given, or another process is writing it.
    pub(crate) fn check(kind: Kind, output: &Path, force: bool) -> Result<Left, StagingError> {
        let (output, work) = places(output)?;
        if recover(&output, &work)? == Left::Published {
            return Ok(Left::Published);
        }
        check_output(kind, &output, force)?;
        Ok(Left::Unfinished)
    }

    /// The files of the output that `force` replaces though they were edited since anec wrote them; none where there is no
    /// output.
    ///
    /// # Errors
    /// Something cannot be read.
    pub(crate) fn edited(output: &Path) -> Result<Vec<String>, StagingError> {
        if fs::symlink_metadata(output).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(existing::edited(output)?);
        }
        Ok(Vec::new())
    }

    /// Starts an output beside its final place, or goes on with one.
    ///
    /// # Errors
    /// As [`check`](Self::check), or what is there to resume belongs to another conversion, or the parent cannot be
    /// written.
    pub(crate) fn open(
        kind: Kind,
        output: &Path,
        force: bool,
        unfinished: Unfinished,
        identity: &Identity,
    ) -> Result<Self, StagingError> {
        let (output, work) = places(output)?;
        check_output(kind, &output, force)?;
        fs::create_dir_all(&work)?;
        let journal = open_journal(&work)?;
        let mut staging = Self { kind, output, work, journal, force, keep: true };
        let found = staging.journal.found().identity.as_ref().filter(|_| unfinished == Unfinished::Resume);
        if let Some(found) = found {
            if let Some(difference) = found.difference(identity) {
                return Err(StagingError::Different { path: staging.work.clone(), difference });
            }
            match staging.kind {
                // Its weights are no model.
                Kind::Part => remove_if_there(&staging.path().join(FRAME))?,
                _ => remove_all_but_models(&staging.path())?,
            }
        } else {
            remove_if_there(&staging.path())?;
            remove_if_there(&staging.calibration())?;
            staging.journal.restart(identity)?;
        }
        fs::create_dir_all(staging.path())?;
        staging.keep = false;
        Ok(staging)
    }

    /// Where to write.
    pub(crate) fn path(&self) -> PathBuf {
        self.work.join(OUTPUT)
    }

    /// Where calibration keeps what it finds.
    pub(crate) fn calibration(&self) -> PathBuf {
        self.work.join(CALIBRATION)
    }

    /// What is finished.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Leaves the unfinished output for another attempt and gives its path.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.keep = true;
        self.work.clone()
    }

    /// Flushes everything and moves it into place.
    pub(crate) fn publish(mut self) -> Result<(), StagingError> {
        let staged = self.path();
        synchronize(&staged)?;
        check_output(self.kind, &self.output, self.force)?;
        // From here on another attempt sets right what this one may leave.
        self.keep = true;
        self.journal.publishing()?;
        let replaced = self.work.join(REPLACED);
        if fs::symlink_metadata(&self.output).is_ok() {
            fs::rename(&self.output, &replaced)?;
            if let Err(error) = fs::rename(&staged, &self.output) {
                fs::rename(&replaced, &self.output)?;
                return Err(error.into());
            }
        } else {
            fs::rename(&staged, &self.output)?;
        }
        sync_directory(parent(&self.output))?;
        Ok(remove_work_directory(&self.work)?)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.keep {
            // There is nobody left to tell; another attempt meets what stays.
            let _ = remove_work_directory(&self.work);
        }
    }
}

/// All but weights is cheap and written anew.
fn remove_all_but_models(directory: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            fs::remove_file(path)?;
        } else if path.extension().is_none_or(|extension| FORMS.iter().all(|form| extension != form.name())) {
            remove_all_but_models(&path)?;
        }
    }
    Ok(())
}

fn check_output(kind: Kind, output: &Path, force: bool) -> Result<(), StagingError> {
    if fs::symlink_metadata(output).is_err() {
        return Ok(());
    }
    if !force {
        return Err(StagingError::Exists { path: output.to_owned() });
    }
    match existing::foreign(kind, output)? {
        None => Ok(()),
        Some(found) => Err(StagingError::Foreign { path: output.to_owned(), found }),
    }
}

/// Ends or undoes a publication that was cut short.
fn recover(output: &Path, work: &Path) -> Result<Left, StagingError> {
    if fs::symlink_metadata(work.join(JOURNAL)).is_err() {
        // What has no journal was about to begin or is over; a directory with content is left for `open`.
        let _ = fs::remove_dir(work);
        return Ok(Left::Unfinished);
    }
    let journal = open_journal(work)?;
    if !journal.found().is_publishing {
        return Ok(Left::Unfinished);
    }
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let replaced = work.join(REPLACED);
    if is_there(&replaced) && !is_there(output) {
        fs::rename(&replaced, output)?;
    }
    if is_there(&work.join(OUTPUT)) || !is_there(output) {
        return Ok(Left::Unfinished);
    }
    remove_work_directory(work)?;
    Ok(Left::Published)
}

/// Removes the journal last, so that what a kill leaves of the directory is known for what it is.
fn remove_work_directory(work: &Path) -> io::Result<()> {
    for directory in [OUTPUT, CALIBRATION, REPLACED] {
        remove_if_there(&work.join(directory))?;
    }
    fs::remove_file(work.join(JOURNAL))?;
    match fs::remove_dir(work) {
        // Not all that is in it is ours.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

fn remove_if_there(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open_journal(work: &Path) -> Result<Journal, StagingError> {
    Journal::open(&work.join(JOURNAL)).map_err(|error| match error {
        OpenError::Busy => StagingError::Busy { path: work.to_owned() },
        OpenError::Io(error) => StagingError::Io(error),
    })
}

/// The output and its work directory, by the real path of their parent where there is one: a path through a directory that
/// is about to be replaced would lead nowhere while it is.
fn places(output: &Path) -> Result<(PathBuf, PathBuf), StagingError> {
    let name = output.file_name().ok_or_else(|| StagingError::Unnamed { path: output.to_owned() })?;
    let parent = match fs::canonicalize(parent(output)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => parent(output).to_owned(),
        parent => parent?,
    };
    let mut work = OsString::from(".");
    work.push(name);
    work.push(".partial");
    Ok((parent.join(name), parent.join(work)))
}

fn parent(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn synchronize(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            synchronize(&entry.path())?;
        } else {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Directories cannot be flushed on other systems.
#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
