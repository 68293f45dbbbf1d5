//! Where blobs go, from their types and sizes alone.

use super::{ALIGNMENT, BlobError, RECORD_BYTES, aligned, blob_size};
use crate::dtype::DataType;

/// A blob that has its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) dtype: DataType,
    pub(super) count: u64,
    pub(super) offset: u64,
}

/// The places of the blobs of a file, decided before any data is there.
#[derive(Clone, Debug, Default)]
pub struct BlobLayout {
    placed: Vec<Placed>,
    end: u64,
}

impl BlobLayout {
    /// Places a blob of `count` elements after the others and gives the offset of its record, which is what programs
    /// refer to.
    ///
    /// # Errors
    /// A type without a place in weight files, or a file beyond 64 bits.
    pub fn push(&mut self, dtype: DataType, count: u64) -> Result<u64, BlobError> {
        let too_large = || BlobError::TooLarge { dtype, count };
        let (bytes, _) = blob_size(dtype, count)?;
        let offset = aligned(self.end.max(ALIGNMENT)).ok_or_else(too_large)?;
        self.end =
            offset.checked_add(RECORD_BYTES as u64).and_then(|data| data.checked_add(bytes)).ok_or_else(too_large)?;
        self.placed.push(Placed { dtype, count, offset });
        Ok(offset)
    }

    /// Bytes of the file; there is no padding after the last blob.
    pub fn total_size(&self) -> u64 {
        self.end.max(RECORD_BYTES as u64)
    }

    /// Number of blobs.
    pub fn len(&self) -> usize {
        self.placed.len()
    }

    /// Whether there are no blobs.
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    pub(super) fn placed(&self) -> &[Placed] {
        &self.placed
    }
}
