//! A weight file on disk that is filled in any order.

use std::io;
use std::path::Path;

use fs_err as fs;

use super::EmitError;
use crate::weights::encodings::blocks::{Place, to_usize};
use crate::weights::weight_file::{Job, WeightFile};

/// Bytes read at a time to check what is there.
const CHECK_BYTES: u64 = 1 << 20;

/// An open weight file of its final size.
pub(super) struct Target {
    file: fs::File,
    #[cfg(not(unix))]
    position: std::sync::Mutex<()>,
}

impl Target {
    /// Opens or makes the file and writes what does not come from the checkpoint; what else is there stays.
    pub(super) fn open(path: &Path, weights: &WeightFile) -> Result<Self, EmitError> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(weights.size())?;
        let target = Self {
            file,
            #[cfg(not(unix))]
            position: std::sync::Mutex::default(),
        };
        for (offset, bytes) in weights.layout().frame()? {
            target.write(offset, &bytes)?;
        }
        for job in weights.jobs() {
            if let Job::Generated { bytes, at } = job {
                target.write(*at, bytes)?;
            }
        }
        Ok(target)
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        #[cfg(unix)]
        {
            use fs_err::os::unix::fs::FileExt as _;
            self.file.write_all_at(bytes, offset)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Seek as _, Write as _};
            let _guard = self.position.lock();
            let mut file = &self.file;
            file.seek(io::SeekFrom::Start(offset))?;
            file.write_all(bytes)
        }
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
                self.read(start, &mut buffer)?;
                hasher.update(&buffer);
                start += length;
            }
        }
        Ok(hasher.finalize())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        #[cfg(unix)]
        {
            use fs_err::os::unix::fs::FileExt as _;
            self.file.read_exact_at(bytes, offset)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Read as _, Seek as _};
            let _guard = self.position.lock();
            let mut file = &self.file;
            file.seek(io::SeekFrom::Start(offset))?;
            file.read_exact(bytes)
        }
    }
}
