//! Whether a disk has room for an output, asked before any work is done.

use std::path::{Path, PathBuf};

use crate::error::Hint;
use crate::options::ByteSize;

/// What programs, metadata and companions take beside the weights.
const BESIDE_WEIGHTS: u64 = 64 << 20;

/// A disk without room for an output.
#[derive(Debug, thiserror::Error)]
#[error("Cannot write `{}`: it takes {}, and the disk has {} free", .path.display(), ByteSize(*.needed), ByteSize(*.free))]
pub(crate) struct NoRoomError {
    /// The output.
    path: PathBuf,
    /// Bytes that it takes.
    needed: u64,
    /// Bytes that are free.
    free: u64,
}

impl Hint for NoRoomError {
    fn hint(&self) -> Option<String> {
        Some("free some room, choose another disk with `-o`, or use fewer bits".to_owned())
    }
}

/// Requires room for so many bytes of weights, where the disk of `output` says how much it has.
///
/// # Errors
/// It has less.
pub(crate) fn require(output: &Path, weights: u64) -> Result<(), NoRoomError> {
    let needed = weights.saturating_add(BESIDE_WEIGHTS);
    match free(output) {
        Some(free) if free < needed => Err(NoRoomError { path: output.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

/// Bytes that are free where `output` will be; none where that is not known.
#[cfg(unix)]
fn free(output: &Path) -> Option<u64> {
    let mut place = output.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let stat = place.find_map(|path| rustix::fs::statvfs(path).ok())?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(not(unix))]
fn free(_output: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_no_disk_holds_is_refused_before_it_is_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = directory.path().join("not/there/yet");
        assert!(require(&output, 1 << 10).is_ok(), "a few bytes");
        if cfg!(unix) {
            let error = require(&output, u64::MAX / 2).expect_err("no disk is that large");
            assert!(error.to_string().contains("free"), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
