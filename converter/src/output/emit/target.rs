//! A weight file on disk that is filled in any order: as one file, as a file for each blob, or as the bytes of several weight
//! files that are a share of them. Few files are open at a time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anec_mil::blob::BlobLayout;
use anec_mil::compiled::ONLY_RECORD;
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

/// Where a weight file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// As it is.
    Whole(PathBuf),
    /// Each blob alone, by the offset of its record in the weight file.
    Blobs(BTreeMap<u64, PathBuf>),
}

/// A weight file of its final size, or what a share has of it.
pub(super) struct Target {
    /// Which bytes are there, sorted, and where.
    pieces: Vec<Piece>,
}

/// Bytes of a weight file that are in one file on disk.
struct Piece {
    start: u64,
    end: u64,
    store: Arc<Store>,
    /// Where they begin in the file on disk.
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
    /// Makes the file, or the files, where they are not there, and writes what does not come from the checkpoint; what else is
    /// there stays.
    pub(super) fn open(files: &Arc<OpenFiles>, to: &Destination, weights: &WeightFile) -> Result<Self, EmitError> {
        let target = match to {
            Destination::Whole(path) => {
                let (end, store) = (weights.size(), Store::open(files, path, weights.size())?);
                let target = Self { pieces: vec![Piece { start: 0, end, store, at: 0 }] };
                target.write_frame(weights.layout())?;
                target
            }
            Destination::Blobs(paths) => Self::open_blobs(files, paths, weights)?,
        };
        target.write_generated(weights)?;
        Ok(target)
    }

    /// A file for each blob, with its frame.
    fn open_blobs(
        files: &Arc<OpenFiles>,
        paths: &BTreeMap<u64, PathBuf>,
        weights: &WeightFile,
    ) -> Result<Self, EmitError> {
        let mut pieces = Vec::new();
        for (record, alone) in weights.layout().alone() {
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("the blob at {record} has no place"));
            let store = Store::open(files, paths.get(&record).ok_or_else(missing)?, alone.total_size())?;
            for (offset, bytes) in alone.frame()? {
                store.write(offset, &bytes)?;
            }
            let (start, at) = (BlobLayout::data_offset(record), BlobLayout::data_offset(ONLY_RECORD));
            pieces.push(Piece { start, end: start + (alone.total_size() - at), store, at });
        }
        Ok(Self { pieces })
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
        let mut targets: Vec<Self> = files.iter().map(|_| Self { pieces: Vec::new() }).collect();
        let mut at = 0;
        for span in spans {
            if let Some(target) = targets.get_mut(span.file) {
                target.pieces.push(Piece { start: span.start, end: span.end, store: Arc::clone(&store), at });
            }
            at += span.bytes();
        }
        for (target, weights) in targets.iter().zip(files).filter(|_| has_frame) {
            target.write_frame(weights.layout())?;
            target.write_generated(weights)?;
        }
        Ok(targets)
    }

    fn write_frame(&self, layout: &BlobLayout) -> Result<(), EmitError> {
        for (offset, bytes) in layout.frame()? {
            self.write(offset, &bytes)?;
        }
        Ok(())
    }

    fn write_generated(&self, weights: &WeightFile) -> Result<(), EmitError> {
        for job in weights.jobs() {
            if let Job::Generated { bytes, at } = job {
                self.write(*at, bytes)?;
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` of the weight file.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (store, at) = self.place(offset, bytes.len() as u64)?;
        store.write(at, bytes)
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
                let (store, at) = self.place(start, length)?;
                store.read(at, &mut buffer)?;
                hasher.update(&buffer);
                start += length;
            }
        }
        Ok(hasher.finalize())
    }

    /// Where bytes of the weight file are.
    fn place(&self, offset: u64, length: u64) -> io::Result<(&Store, u64)> {
        let next = self.pieces.partition_point(|piece| piece.start <= offset);
        let found = next.checked_sub(1).and_then(|index| self.pieces.get(index));
        let found = found.filter(|piece| offset.checked_add(length).is_some_and(|end| end <= piece.end));
        let missing = || io::Error::new(io::ErrorKind::InvalidInput, "bytes that belong to another share");
        found.map(|piece| (&*piece.store, piece.at + (offset - piece.start))).ok_or_else(missing)
    }
}
