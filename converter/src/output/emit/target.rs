//! A weight file on disk that is filled in any order, or the bytes of several weight files that are a share of them. Few of them
//! are open at a time.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;

use super::EmitError;
use super::share::Span;
use crate::weights::encodings::blocks::{Place, to_usize};
use crate::weights::weight_file::{Job, WeightFile};

/// Bytes read at a time to check what is there.
const CHECK_BYTES: u64 = 1 << 20;

/// Weight files that are open at a time, beside those that workers are writing to: a conversion may have hundreds, and systems allow
/// 256 open files by default.
const MOST_OPEN: usize = 16;

/// Files that were written to last, the last one behind.
#[derive(Default)]
pub(super) struct OpenFiles(Mutex<VecDeque<(PathBuf, Arc<fs::File>)>>);

/// A file that is opened where it is written to.
struct Store {
    path: PathBuf,
    files: Arc<OpenFiles>,
    #[cfg(not(unix))]
    position: Mutex<()>,
}

/// A weight file of its final size, or what a share has of it.
pub(super) struct Target {
    store: Arc<Store>,
    /// Which bytes are there, sorted, and where; all at their own places where there are none.
    kept: Option<Vec<Kept>>,
}

/// Bytes of a weight file that a share keeps.
struct Kept {
    start: u64,
    end: u64,
    /// Where they begin in the file of the share.
    at: u64,
}

impl OpenFiles {
    /// The file at a path, made where it is not there. It stays open for as long as it is held.
    fn get(&self, path: &Path) -> io::Result<Arc<fs::File>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(open, _)| open == path)
            && let Some(entry) = recent.remove(at)
        {
            let file = Arc::clone(&entry.1);
            recent.push_back(entry);
            return Ok(file);
        }
        if recent.len() >= MOST_OPEN {
            recent.pop_front();
        }
        let file = Arc::new(fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?);
        recent.push_back((path.to_owned(), Arc::clone(&file)));
        Ok(file)
    }
}

impl Store {
    fn open(files: &Arc<OpenFiles>, path: &Path, size: u64) -> io::Result<Arc<Self>> {
        files.get(path)?.set_len(size)?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            files: Arc::clone(files),
            #[cfg(not(unix))]
            position: Mutex::default(),
        }))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.get(&self.path)?;
        #[cfg(unix)]
        {
            use fs_err::os::unix::fs::FileExt as _;
            file.write_all_at(bytes, offset)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Seek as _, Write as _};
            let _guard = self.position.lock();
            let mut file = &*file;
            file.seek(io::SeekFrom::Start(offset))?;
            file.write_all(bytes)
        }
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.files.get(&self.path)?;
        #[cfg(unix)]
        {
            use fs_err::os::unix::fs::FileExt as _;
            file.read_exact_at(bytes, offset)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Read as _, Seek as _};
            let _guard = self.position.lock();
            let mut file = &*file;
            file.seek(io::SeekFrom::Start(offset))?;
            file.read_exact(bytes)
        }
    }
}

impl Target {
    /// Makes the file, where it is not there, and writes what does not come from the checkpoint; what else is there stays.
    pub(super) fn open(files: &Arc<OpenFiles>, path: &Path, weights: &WeightFile) -> Result<Self, EmitError> {
        let target = Self { store: Store::open(files, path, weights.size())?, kept: None };
        target.write_frame(weights)?;
        Ok(target)
    }

    /// As [`open`](Self::open), one for each weight file, all of them in one file that has these bytes of them, one after
    /// the other. `has_frame`: whether what does not come from the checkpoint is among them.
    pub(super) fn open_share(
        path: &Path,
        files: &[&WeightFile],
        spans: &[Span],
        has_frame: bool,
    ) -> Result<Vec<Self>, EmitError> {
        let store = Store::open(&Arc::default(), path, spans.iter().map(Span::bytes).sum())?;
        let mut kept: Vec<Vec<Kept>> = files.iter().map(|_| Vec::new()).collect();
        let mut at = 0;
        for span in spans {
            if let Some(kept) = kept.get_mut(span.file) {
                kept.push(Kept { start: span.start, end: span.end, at });
            }
            at += span.bytes();
        }
        let targets = kept.into_iter().map(|kept| Self { store: Arc::clone(&store), kept: Some(kept) });
        let targets: Vec<Self> = targets.collect();
        for (target, weights) in targets.iter().zip(files).filter(|_| has_frame) {
            target.write_frame(weights)?;
        }
        Ok(targets)
    }

    fn write_frame(&self, weights: &WeightFile) -> Result<(), EmitError> {
        for (offset, bytes) in weights.layout().frame()? {
            self.write(offset, &bytes)?;
        }
        for job in weights.jobs() {
            if let Job::Generated { bytes, at } = job {
                self.write(*at, bytes)?;
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` of the weight file.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.store.write(self.place(offset, bytes.len() as u64)?, bytes)
    }

    /// The checksum of what stands at these places, one after the other.
    pub(super) fn checksum(&self, places: &[Place]) -> io::Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = Vec::new();
        for place in places {
            let mut start = place.start;
            while start < place.end {
                let length = (place.end - start).min(CHECK_BYTES);
                buffer.resize(to_usize(length), 0);
                self.store.read(self.place(start, length)?, &mut buffer)?;
                hasher.update(&buffer);
                start += length;
            }
        }
        Ok(hasher.finalize())
    }

    /// Where bytes of the weight file are.
    fn place(&self, offset: u64, length: u64) -> io::Result<u64> {
        let Some(kept) = &self.kept else { return Ok(offset) };
        let next = kept.partition_point(|kept| kept.start <= offset);
        let found = next.checked_sub(1).and_then(|index| kept.get(index));
        let found = found.filter(|kept| offset.checked_add(length).is_some_and(|end| end <= kept.end));
        let missing = || io::Error::new(io::ErrorKind::InvalidInput, "bytes that belong to another share");
        found.map(|kept| kept.at + (offset - kept.start)).ok_or_else(missing)
    }
}
