//! Which parts of an unfinished output are finished, on disk, so that a conversion can go on after any kind of end.
//!
//! The journal is a text file: a first line that says which conversion it belongs to, then a line for each finished part
//! with the checksum of its bytes, and a last line once the output is being published. Lines are appended after what they
//! speak of is written. Nothing is believed without its checksum, so the order in which a system brings data to the disk
//! does not matter, and a line that a crash cut short is skipped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anec_quantize::ErrorStats;
use fs_err as fs;

use super::identity::Identity;

/// Line that says that the output is complete and on its way to its place.
const PUBLISHING: &str = "publishing";

/// A longer journal is none of ours: a part takes 100 bytes, and stands for a million weights.
const MAX_BYTES: u64 = 1 << 28;

/// A part that is finished.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FinishedPart {
    /// CRC-32 of its bytes, in the order of its places.
    pub(crate) checksum: u32,
    /// The error of its palettes.
    pub(crate) stats: ErrorStats,
}

/// An open journal; it is locked against other processes for as long as it is open.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Mutex<fs::File>,
    /// What was there when it was opened.
    found: Found,
}

/// The content of a journal.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The conversion, where the first line is whole.
    pub(super) identity: Option<Identity>,
    /// Finished parts by their numbers.
    pub(super) parts: BTreeMap<usize, FinishedPart>,
    /// Whether the output was complete.
    pub(super) is_publishing: bool,
}

/// A journal that cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Another process has it.
    Busy,
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Journal {
    /// Opens or makes the journal and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::Busy),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut text = Vec::new();
        (&mut file).take(MAX_BYTES).read_to_end(&mut text)?;
        // What follows the last line break was cut short.
        let length = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        text.truncate(length);
        let found = Found::parse(&String::from_utf8_lossy(&text));
        file.set_len(length as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file: Mutex::new(file), found })
    }

    /// Forgets what was found and begins anew.
    pub(super) fn restart(&mut self, identity: &Identity) -> io::Result<()> {
        self.found = Found { identity: Some(identity.clone()), ..Found::default() };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{}\n", serde_json::to_string(identity)?).as_bytes())
    }

    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// Parts that an earlier attempt finished, if its word is taken.
    pub(crate) fn finished_parts(&self) -> &BTreeMap<usize, FinishedPart> {
        &self.found.parts
    }

    /// Notes that a part is written.
    pub(crate) fn finish(&self, number: usize, part: &FinishedPart) -> io::Result<()> {
        self.append(&part.line(number))
    }

    /// Notes that the output is complete, and makes sure that this is known.
    pub(super) fn publishing(&self) -> io::Result<()> {
        self.append(&format!("{PUBLISHING}\n"))?;
        self.file.lock().unwrap_or_else(PoisonError::into_inner).sync_all()
    }

    /// In one call, so that a kill leaves a whole line or none.
    fn append(&self, line: &str) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

impl Found {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let identity = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let mut found = Self { identity, ..Self::default() };
        for line in lines {
            found.is_publishing |= line == PUBLISHING;
            found.parts.extend(FinishedPart::parse(line));
        }
        found
    }
}

impl FinishedPart {
    fn line(&self, number: usize) -> String {
        let ErrorStats { count, signal, noise, max_error } = self.stats;
        let mut line = format!("part {number} {:08x} {count}", self.checksum);
        for value in [signal, noise, max_error] {
            // Writing to a string cannot fail. Bits, so that no digit is lost.
            let _ = write!(line, " {:016x}", value.to_bits());
        }
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Option<(usize, Self)> {
        let mut words = line.strip_prefix("part ")?.split(' ');
        let number = words.next()?.parse().ok()?;
        let checksum = u32::from_str_radix(words.next()?, 16).ok()?;
        let count = words.next()?.parse().ok()?;
        let mut value = || Some(f64::from_bits(u64::from_str_radix(words.next()?, 16).ok()?));
        let stats = ErrorStats { count, signal: value()?, noise: value()?, max_error: value()? };
        words.next().is_none().then_some((number, Self { checksum, stats }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(plan: &str) -> Identity {
        Identity { program: "a".to_owned(), checkpoint: "b".to_owned(), plan: plan.to_owned() }
    }

    fn part(checksum: u32) -> FinishedPart {
        let stats = ErrorStats { count: 7, signal: 0.1, noise: f64::MIN_POSITIVE, max_error: 1.0 / 3.0 };
        FinishedPart { checksum, stats }
    }

    #[test]
    fn a_journal_reads_back_and_a_line_cut_short_is_skipped() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).expect("nothing is there");
        journal.restart(&identity("c")).expect("writable");
        journal.finish(3, &part(9)).expect("writable");
        journal.finish(1, &part(8)).expect("writable");
        drop(journal);
        let whole = fs::read(&path).expect("written");
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).expect("writable");
            let journal = Journal::open(&path).expect("unlocked");
            let parts = journal.finished_parts();
            assert!(parts.iter().all(|found| [(&3, &part(9)), (&1, &part(8))].contains(&found)));
            let breaks = String::from_utf8_lossy(&whole[..length]).matches('\n').count();
            assert_eq!((journal.found().identity.is_some(), parts.len()), (breaks > 0, breaks.saturating_sub(1)));
        }
    }

    #[test]
    fn a_journal_that_begins_anew_forgets() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).expect("nothing is there");
        journal.restart(&identity("c")).expect("writable");
        journal.finish(3, &part(9)).expect("writable");
        journal.publishing().expect("writable");
        drop(journal);
        let mut journal = Journal::open(&path).expect("unlocked");
        assert!(journal.found().is_publishing && journal.finished_parts().len() == 1);
        journal.restart(&identity("d")).expect("writable");
        drop(journal);
        let expected = Found { identity: Some(identity("d")), ..Found::default() };
        assert_eq!(*Journal::open(&path).expect("unlocked").found(), expected);
    }

    #[test]
    fn two_conversions_cannot_have_the_same_journal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        let journal = Journal::open(&path).expect("nothing is there");
        assert!(matches!(Journal::open(&path), Err(OpenError::Busy)));
        drop(journal);
        assert!(Journal::open(&path).is_ok());
    }
}
