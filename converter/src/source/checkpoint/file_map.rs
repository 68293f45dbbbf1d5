//! Memory maps of checkpoint files: the only unsafe code of the crate.
//!
//! Owns the mapping and giving pages back. Never interprets the bytes.

use std::io;
use std::ops::Range;
use std::path::Path;

/// A file, mapped read-only.
#[derive(Debug)]
pub(super) struct FileMap(memmap2::Mmap);

impl FileMap {
    /// Maps a file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = fs_err::File::open(path)?;
        // SAFETY: the mapping is read-only, private to this type, and only handed out as `&[u8]` bounded by it. What no
        // program can rule out is another process changing the file meanwhile: bytes are then read as they come, and a
        // file cut short ends the process with SIGBUS. No value read from the map is trusted after its check: offsets and
        // shapes are copied out of the header once, and weights are plain numbers, valid in every bit pattern.
        #[expect(unsafe_code, reason = "mapping a file is the point of this module")]
        let map = unsafe { memmap2::Mmap::map(file.file()) }?;
        Ok(Self(map))
    }

    /// The bytes of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lets the system take back the pages of a range; reading them again loads them from the file again.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if range.start < range.end && range.end <= self.0.len() {
            // SAFETY: the map is shared with the file and read-only, so that there are no changes to lose: after
            // `MADV_DONTNEED` the pages read as the file's bytes, the same as before. Borrows of the range stay valid.
            #[expect(unsafe_code, reason = "memmap2 has no safe form of MADV_DONTNEED")]
            let released = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.end - range.start)
            };
            // Advice: a system that does not take it keeps the pages.
            drop(released);
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Lets the system load a range that is about to be read.
    pub(super) fn prefetch(&self, range: Range<usize>) {
        #[cfg(unix)]
        if range.start < range.end && range.end <= self.0.len() {
            // Advice: a system that does not take it loads the pages when they are read.
            let _ = self.0.advise_range(memmap2::Advice::WillNeed, range.start, range.end - range.start);
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
