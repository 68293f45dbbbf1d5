//! Where blobs go, from their types and sizes alone.

use super::{ALIGNMENT, BlobError, RECORD_BYTES, SENTINEL, VERSION, aligned, blob_size};
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

    /// Where the data of the blob starts whose record is at `record`.
    pub fn data_offset(record: u64) -> u64 {
        record.saturating_add(RECORD_BYTES as u64)
    }

    /// Everything of the file but the data: its header and the record of every blob, each with its offset. All bytes
    /// between these and the data are zero.
    ///
    /// With this a file can be filled in any order; [`BlobWriter`](super::BlobWriter) fills one from front to back.
    ///
    /// # Errors
    /// There are more blobs than a header can count.
    pub fn frame(&self) -> Result<Vec<(u64, Vec<u8>)>, BlobError> {
        let mut frame = vec![(0, self.header()?)];
        for placed in &self.placed {
            frame.push((placed.offset, placed.record()?));
        }
        Ok(frame)
    }

    /// The record of every blob, with the layout of a file that holds this blob alone.
    pub fn alone(&self) -> impl Iterator<Item = (u64, Self)> {
        self.placed.iter().map(|placed| {
            let mut alone = Self::default();
            alone.push(placed.dtype, placed.count).expect("what has a place among others has one alone");
            (placed.offset, alone)
        })
    }

    /// The header of the file.
    pub(super) fn header(&self) -> Result<Vec<u8>, BlobError> {
        let count = u32::try_from(self.len()).map_err(|_| BlobError::Field {
            field: "the number of blobs",
            offset: 0,
            expected: "at most 4294967295".to_owned(),
            found: self.len().to_string(),
        })?;
        let mut header = Vec::with_capacity(RECORD_BYTES);
        header.extend(count.to_le_bytes());
        header.extend(VERSION.to_le_bytes());
        header.resize(RECORD_BYTES, 0);
        Ok(header)
    }

    pub(super) fn placed(&self) -> &[Placed] {
        &self.placed
    }
}

impl Placed {
    /// The record in front of the data.
    pub(super) fn record(&self) -> Result<Vec<u8>, BlobError> {
        let (bytes, unused_bits) = blob_size(self.dtype, self.count)?;
        let mut record = Vec::with_capacity(RECORD_BYTES);
        record.extend(SENTINEL.to_le_bytes());
        record.extend(self.dtype.blob_number().unwrap_or(0).to_le_bytes());
        record.extend(bytes.to_le_bytes());
        record.extend((self.offset + RECORD_BYTES as u64).to_le_bytes());
        record.extend(unused_bits.to_le_bytes());
        record.resize(RECORD_BYTES, 0);
        Ok(record)
    }
}
