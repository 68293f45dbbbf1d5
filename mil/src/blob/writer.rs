//! Writes a weight file in one pass.

use std::io::Write;

use super::layout::Placed;
use super::{BlobError, BlobLayout, RECORD_BYTES, blob_size};
use crate::dtype::DataType;

/// Writes the blobs of a layout in order, each in as many pieces as the caller likes.
pub struct BlobWriter<W> {
    output: W,
    placed: Vec<Placed>,
    /// Blobs begun.
    begun: usize,
    /// Bytes that the current blob takes, and has.
    expected: u64,
    written: u64,
    /// Bytes of the file so far.
    position: u64,
}

impl<W: Write> BlobWriter<W> {
    /// Starts the file.
    ///
    /// # Errors
    /// `output` fails.
    pub fn new(mut output: W, layout: &BlobLayout) -> Result<Self, BlobError> {
        output.write_all(&layout.header()?)?;
        let placed = layout.placed().to_vec();
        Ok(Self { output, placed, begun: 0, expected: 0, written: 0, position: RECORD_BYTES as u64 })
    }

    /// Starts the next blob, which must be the next one of the layout.
    ///
    /// # Errors
    /// The previous blob is incomplete, this is not the planned one, or the output fails.
    pub fn begin(&mut self, dtype: DataType, count: u64) -> Result<(), BlobError> {
        self.check_complete()?;
        let describe = |dtype: DataType, count: u64| format!("{count} elements of type {dtype}");
        let found = || describe(dtype, count);
        let Some(planned) = self.placed.get(self.begun).copied() else {
            return Err(BlobError::Unplanned { index: self.begun, expected: "the end".to_owned(), found: found() });
        };
        if (planned.dtype, planned.count) != (dtype, count) {
            let expected = describe(planned.dtype, planned.count);
            return Err(BlobError::Unplanned { index: self.begun, expected, found: found() });
        }
        let (bytes, _) = blob_size(dtype, count)?;
        let padding = usize::try_from(planned.offset - self.position).unwrap_or(0);
        let mut record = vec![0; padding];
        record.extend(planned.record()?);
        self.output.write_all(&record)?;
        self.position = planned.offset + RECORD_BYTES as u64;
        self.begun += 1;
        (self.expected, self.written) = (bytes, 0);
        Ok(())
    }

    /// Appends to the current blob.
    ///
    /// # Errors
    /// More bytes than its elements take, or the output fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let length = bytes.len() as u64;
        if self.written + length > self.expected {
            let found = self.written + length;
            return Err(BlobError::Length { index: self.begun.saturating_sub(1), expected: self.expected, found });
        }
        self.output.write_all(bytes)?;
        self.written += length;
        self.position += length;
        Ok(())
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// A blob is incomplete or missing, or the output fails.
    pub fn finish(mut self) -> Result<W, BlobError> {
        self.check_complete()?;
        if let Some(missing) = self.placed.get(self.begun) {
            let expected = format!("{} elements of type {}", missing.count, missing.dtype);
            return Err(BlobError::Unplanned { index: self.begun, expected, found: "the end".to_owned() });
        }
        self.output.flush()?;
        Ok(self.output)
    }

    fn check_complete(&self) -> Result<(), BlobError> {
        if self.written == self.expected {
            return Ok(());
        }
        let (expected, found) = (self.expected, self.written);
        Err(BlobError::Length { index: self.begun.saturating_sub(1), expected, found })
    }
}
