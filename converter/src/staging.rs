//! An output directory that appears whole or not at all.
//!
//! Everything is written into a temporary sibling, flushed to disk and renamed into place. A failure removes the sibling;
//! an output that exists is replaced only when asked, and only at the end.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anec_schemas::meta::META_YAML;
use fs_err as fs;
use tempfile::TempDir;

use crate::error::Hint;

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
    /// `--force` was given, but what exists is not an output of anec.
    #[error("Cannot replace `{}`: it has no `{marker}`, so anec did not write it", .path.display())]
    Foreign {
        /// The output.
        path: PathBuf,
        /// The file that every output of its kind has.
        marker: &'static str,
    },
    /// The disk.
    #[error("Cannot write the output")]
    Io(#[from] io::Error),
}

impl Hint for StagingError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("choose another directory with `-o`, or replace it with `--force`".to_owned()),
            Self::Foreign { .. } => Some("remove it yourself, or choose another directory with `-o`".to_owned()),
            Self::Unnamed { .. } | Self::Io(_) => None,
        }
    }
}

/// An output under construction.
pub(crate) struct Staging {
    output: PathBuf,
    directory: TempDir,
    replace: bool,
    marker: &'static str,
}

impl Staging {
    /// Starts an output beside its final place.
    ///
    /// # Errors
    /// The output exists and `force` is not given, or the parent cannot be written.
    pub(crate) fn new(output: &Path, force: bool) -> Result<Self, StagingError> {
        Self::new_marked(output, force, META_YAML)
    }

    /// Starts an output of the kind that has the file `marker`.
    pub(crate) fn new_marked(output: &Path, force: bool, marker: &'static str) -> Result<Self, StagingError> {
        Self::check_marked(output, force, marker)?;
        let name = output.file_name().ok_or_else(|| StagingError::Unnamed { path: output.to_owned() })?;
        let parent = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        fs::create_dir_all(&parent)?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let directory = tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempdir_in(&parent)?;
        Ok(Self { output: output.to_owned(), directory, replace: force, marker })
    }

    /// Whether an output may be written, before any work is done.
    pub(crate) fn check(output: &Path, force: bool) -> Result<(), StagingError> {
        Self::check_marked(output, force, META_YAML)
    }

    /// Whether an output of the kind that has the file `marker` may be written.
    pub(crate) fn check_marked(output: &Path, force: bool, marker: &'static str) -> Result<(), StagingError> {
        if fs::symlink_metadata(output).is_err() {
            return Ok(());
        }
        if !force {
            return Err(StagingError::Exists { path: output.to_owned() });
        }
        if fs::metadata(output.join(marker)).is_err() {
            return Err(StagingError::Foreign { path: output.to_owned(), marker });
        }
        Ok(())
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes the unfinished output and ends the process when the user or the system asks to stop.
    ///
    /// # Errors
    /// The handler cannot be installed, or there is one already.
    pub(crate) fn remove_on_interrupt(&self) -> Result<(), ctrlc::Error> {
        /// What a shell reports for a process that an interrupt ended.
        const INTERRUPTED: i32 = 130;
        let path = self.directory.path().to_owned();
        ctrlc::set_handler(move || {
            // Threads may still be writing; a file that appears meanwhile is met by the next attempt.
            for _ in 0..10 {
                if fs::remove_dir_all(&path).is_ok() || !path.exists() {
                    break;
                }
            }
            std::process::exit(INTERRUPTED);
        })
    }

    /// Flushes everything and moves it into place.
    pub(crate) fn publish(self) -> Result<(), StagingError> {
        synchronize(self.directory.path())?;
        Self::check_marked(&self.output, self.replace, self.marker)?;
        let staged = self.directory.keep();
        let result = replace(&staged, &self.output);
        if result.is_err() {
            // The rename failed; what was staged must not stay behind. A second failure has nothing to add.
            let _ = fs::remove_dir_all(&staged);
        }
        result?;
        if let Some(parent) = self.output.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        Ok(())
    }
}

fn replace(staged: &Path, output: &Path) -> io::Result<()> {
    set_public(staged)?;
    if fs::symlink_metadata(output).is_err() {
        return fs::rename(staged, output);
    }
    let mut old = staged.as_os_str().to_owned();
    old.push(".replaced");
    let old = PathBuf::from(old);
    fs::rename(output, &old)?;
    if let Err(error) = fs::rename(staged, output) {
        fs::rename(&old, output)?;
        return Err(error);
    }
    fs::remove_dir_all(&old)
}

/// Temporary directories are private; a finished output is as readable as any new directory.
#[cfg(unix)]
fn set_public(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    const DIRECTORY_MODE: u32 = 0o755;
    fs::set_permissions(path, std::fs::Permissions::from_mode(DIRECTORY_MODE))
}

#[cfg(not(unix))]
fn set_public(_path: &Path) -> io::Result<()> {
    Ok(())
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
mod tests {
    use super::*;

    #[test]
    fn an_output_appears_only_when_published() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let output = parent.path().join("out");
        let staging = Staging::new(&output, false).expect("nothing is there");
        fs::write(staging.path().join("meta.yaml"), "a").expect("writable");
        assert!(!output.exists());
        staging.publish().expect("published");
        assert_eq!(fs::read_to_string(output.join("meta.yaml")).expect("readable"), "a");
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_dropped_output_leaves_nothing_behind() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        drop(Staging::new(&parent.path().join("out"), false).expect("nothing is there"));
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 0);
    }

    #[test]
    fn an_existing_output_is_replaced_only_by_force_and_only_if_it_is_a_model() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let output = parent.path().join("out");
        fs::create_dir(&output).expect("writable");
        assert!(matches!(Staging::new(&output, false), Err(StagingError::Exists { .. })));
        assert!(matches!(Staging::new(&output, true), Err(StagingError::Foreign { .. })));
        fs::write(output.join("meta.yaml"), "old").expect("writable");
        let staging = Staging::new(&output, true).expect("a model may be replaced");
        fs::write(staging.path().join("meta.yaml"), "new").expect("writable");
        staging.publish().expect("published");
        assert_eq!(fs::read_to_string(output.join("meta.yaml")).expect("readable"), "new");
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 1);
    }
}
