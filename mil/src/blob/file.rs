//! Reads weight files that are too large for memory.

use std::io::{Read, Seek, SeekFrom};

use super::reader::{check_offset, check_padding, decode_header, decode_record, field};
use super::{Blob, BlobError, RECORD_BYTES, aligned};

/// A weight file that is read in place; [`super::BlobReader`] is the same for files in memory.
#[derive(Debug)]
pub struct BlobFile<R> {
    source: R,
    length: u64,
    count: u32,
}

impl<R: Read + Seek> BlobFile<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The file is shorter than its header or of another version, or cannot be read.
    pub fn new(mut source: R) -> Result<Self, BlobError> {
        let length = source.seek(SeekFrom::End(0))?;
        let mut file = Self { source, length, count: 0 };
        file.count = decode_header(&file.block(0, "the header")?)?;
        Ok(file)
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The record at `offset`, checked against the file.
    ///
    /// # Errors
    /// Misaligned, out of the file, or with fields that contradict each other.
    pub fn record(&mut self, offset: u64) -> Result<Blob, BlobError> {
        check_offset(offset)?;
        decode_record(&self.block(offset, "the record of a blob")?, offset, self.length)
    }

    /// The packed elements of a blob.
    ///
    /// # Errors
    /// The blob is not one of this file, or the file cannot be read.
    pub fn data(&mut self, blob: &Blob) -> Result<Vec<u8>, BlobError> {
        if self.record(blob.offset)? != *blob {
            return Err(field("the blob", blob.offset, "one of this file".to_owned(), &"one of another"));
        }
        let size = usize::try_from(blob.bytes)
            .map_err(|_| BlobError::TooLarge { dtype: blob.dtype, count: blob.element_count() })?;
        let mut data = vec![0; size];
        self.read_at(blob.data_offset(), &mut data)?;
        Ok(data)
    }

    /// Fills `piece` with the bytes of a blob from `start` on.
    ///
    /// # Errors
    /// The piece is not inside the blob, or the file cannot be read.
    pub fn read_piece(&mut self, blob: &Blob, start: u64, piece: &mut [u8]) -> Result<(), BlobError> {
        let end = start.saturating_add(piece.len() as u64);
        if end > blob.bytes {
            let (offset, length) = (blob.offset, blob.bytes);
            return Err(BlobError::Truncated { what: "a piece of the blob", offset, end, length });
        }
        self.read_at(blob.data_offset() + start, piece)
    }

    /// Every blob, in file order.
    ///
    /// # Errors
    /// A record is invalid, padding is not zero, or the file does not end with the last blob that its header counts.
    pub fn blobs(&mut self) -> Result<Vec<Blob>, BlobError> {
        let mut blobs = Vec::new();
        let mut end = RECORD_BYTES as u64;
        for _ in 0..self.count {
            let offset = aligned(end).unwrap_or(u64::MAX);
            let blob = self.record(offset)?;
            let mut padding = [0; RECORD_BYTES];
            let padding = padding.get_mut(..usize::try_from(offset - end).unwrap_or(0)).unwrap_or_default();
            self.read_at(end, padding)?;
            check_padding(padding, end)?;
            end = blob.end();
            blobs.push(blob);
        }
        if end != self.length {
            return Err(field("the end of the last blob", end, self.length.to_string(), &end));
        }
        Ok(blobs)
    }

    fn block(&mut self, offset: u64, what: &'static str) -> Result<[u8; RECORD_BYTES], BlobError> {
        let end = offset.saturating_add(RECORD_BYTES as u64);
        if end > self.length {
            return Err(BlobError::Truncated { what, offset, end, length: self.length });
        }
        let mut bytes = [0; RECORD_BYTES];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlobError> {
        self.source.seek(SeekFrom::Start(offset))?;
        Ok(self.source.read_exact(bytes)?)
    }
}
