//! Reads weight files, which may come from anywhere.

use super::{ALIGNMENT, BlobError, RECORD_BYTES, SENTINEL, VERSION, aligned, blob_size};
use crate::dtype::DataType;

/// A blob as its record describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Offset of the record.
    pub offset: u64,
    /// Element type.
    pub dtype: DataType,
    /// Bytes of data.
    pub bytes: u64,
    /// Unused high bits of the last byte.
    pub unused_bits: u64,
}

impl Blob {
    /// Elements that the data holds.
    pub fn element_count(&self) -> u64 {
        (self.bytes.saturating_mul(8) - self.unused_bits) / u64::from(self.dtype.bits().max(1))
    }

    /// Requires that this is a blob of `count` elements of type `dtype`.
    ///
    /// # Errors
    /// It is another one.
    pub fn check(&self, dtype: DataType, count: u64) -> Result<(), BlobError> {
        if self.dtype != dtype {
            return Err(field("the element type", self.offset, dtype.to_string(), &self.dtype));
        }
        let (bytes, unused_bits) = blob_size(dtype, count)?;
        if (self.bytes, self.unused_bits) != (bytes, unused_bits) {
            let expected = format!("{count} elements, {bytes} bytes with {unused_bits} unused bits");
            let found = format!("{} bytes with {} unused bits", self.bytes, self.unused_bits);
            return Err(field("the size", self.offset, expected, &found));
        }
        Ok(())
    }

    pub(super) fn data_offset(&self) -> u64 {
        self.offset + RECORD_BYTES as u64
    }

    pub(super) fn end(&self) -> u64 {
        self.data_offset() + self.bytes
    }
}

/// A weight file in memory.
#[derive(Clone, Copy, Debug)]
pub struct BlobReader<'a> {
    file: &'a [u8],
    count: u32,
}

impl<'a> BlobReader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// The file is shorter than its header or of another version.
    pub fn new(file: &'a [u8]) -> Result<Self, BlobError> {
        let header = record(file, 0, "the header")?;
        Ok(Self { file, count: decode_header(header)? })
    }

    /// The record at `offset`, checked against the file.
    ///
    /// # Errors
    /// Misaligned, out of the file, or with fields that contradict each other.
    pub fn record(&self, offset: u64) -> Result<Blob, BlobError> {
        check_offset(offset)?;
        let bytes = record(self.file, offset, "the record of a blob")?;
        decode_record(bytes, offset, self.file.len() as u64)
    }

    /// The packed elements of the blob at `offset`, which must have this type and count.
    ///
    /// # Errors
    /// The record is invalid or describes something else.
    pub fn blob(&self, offset: u64, dtype: DataType, count: u64) -> Result<&'a [u8], BlobError> {
        let blob = self.record(offset)?;
        blob.check(dtype, count)?;
        Ok(self.data(&blob))
    }

    /// Every blob, in file order.
    ///
    /// # Errors
    /// A record is invalid, or the file does not end with the last blob that its header counts.
    pub fn blobs(&self) -> Result<Vec<Blob>, BlobError> {
        let mut blobs = Vec::new();
        let mut offset = RECORD_BYTES as u64;
        for _ in 0..self.count {
            let blob = self.record(offset)?;
            blobs.push(blob);
            offset = aligned(blob.end()).unwrap_or(u64::MAX);
            self.check_padding(blob.end(), offset)?;
        }
        let end = blobs.last().map_or(RECORD_BYTES as u64, Blob::end);
        let length = self.file.len() as u64;
        if end != length {
            return Err(field("the end of the last blob", end, length.to_string(), &end));
        }
        Ok(blobs)
    }

    fn check_padding(&self, start: u64, end: u64) -> Result<(), BlobError> {
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        // The last blob has no padding; what is cut off is another error.
        let padding = range.and_then(|(start, end)| self.file.get(start..end)).unwrap_or_default();
        check_padding(padding, start)
    }

    /// The packed elements of a blob of this file.
    fn data(&self, blob: &Blob) -> &'a [u8] {
        let range = usize::try_from(blob.data_offset()).ok().zip(usize::try_from(blob.end()).ok());
        range.and_then(|(start, end)| self.file.get(start..end)).unwrap_or_default()
    }
}

/// Refuses offsets at which no record can stand.
pub(super) fn check_offset(offset: u64) -> Result<(), BlobError> {
    if !offset.is_multiple_of(ALIGNMENT) || offset < RECORD_BYTES as u64 {
        return Err(field("the offset of a blob", offset, format!("a positive multiple of {ALIGNMENT}"), &offset));
    }
    Ok(())
}

/// Reads the header and gives the number of blobs.
pub(super) fn decode_header(header: &[u8; RECORD_BYTES]) -> Result<u32, BlobError> {
    let version = word(header, 4);
    if version != VERSION {
        return Err(field("the version", 0, VERSION.to_string(), &version));
    }
    check_zero(header, 8, 0)?;
    Ok(word(header, 0))
}

/// Reads the record at `offset` of a file of `length` bytes.
pub(super) fn decode_record(bytes: &[u8; RECORD_BYTES], offset: u64, length: u64) -> Result<Blob, BlobError> {
    let sentinel = word(bytes, 0);
    if sentinel != SENTINEL {
        return Err(field("the sentinel", offset, format!("{SENTINEL:#x}"), &format!("{sentinel:#x}")));
    }
    let number = word(bytes, 4);
    let dtype = DataType::from_blob_number(number)
        .ok_or_else(|| field("the element type", offset, "a known number".to_owned(), &number))?;
    let bits = u64::from(dtype.bits());
    // The rest of a record came with types of less than a byte; writers before that left in it what memory held, such as
    // coremltools 7.1 (`yolov8n.mlpackage`, saadiahl/cat_feeder_project@2f191917).
    let has_rest = bits < 8;
    let unused_bits = if has_rest { long(bytes, 24) } else { 0 };
    let blob = Blob { offset, dtype, bytes: long(bytes, 8), unused_bits };
    let data_offset = long(bytes, 16);
    if data_offset != blob.data_offset() {
        return Err(field("the data offset", offset, blob.data_offset().to_string(), &data_offset));
    }
    let end = data_offset.saturating_add(blob.bytes);
    if end > length {
        return Err(BlobError::Truncated { what: "the data of a blob", offset, end, length });
    }
    let has_elements =
        blob.unused_bits < 8 && (blob.bytes * 8 - blob.unused_bits.min(blob.bytes * 8)).is_multiple_of(bits);
    if !has_elements {
        return Err(field("the unused bits", offset, format!("whole elements of {bits} bits"), &blob.unused_bits));
    }
    if has_rest {
        check_zero(bytes, 32, offset)?;
    }
    Ok(blob)
}

/// Bytes between blobs are zero.
pub(super) fn check_padding(padding: &[u8], offset: u64) -> Result<(), BlobError> {
    match padding.iter().find(|byte| **byte != 0) {
        Some(byte) => Err(field("padding after a blob", offset, "0".to_owned(), byte)),
        None => Ok(()),
    }
}

/// Bytes that the format reserves are zero.
fn check_zero(record: &[u8; RECORD_BYTES], from: usize, offset: u64) -> Result<(), BlobError> {
    let reserved = record.get(from..).unwrap_or_default();
    match reserved.iter().find(|byte| **byte != 0) {
        Some(byte) => Err(field("a reserved byte of the record", offset, "0".to_owned(), byte)),
        None => Ok(()),
    }
}

pub(super) fn field(field: &'static str, offset: u64, expected: String, found: &impl ToString) -> BlobError {
    BlobError::Field { field, offset, expected, found: found.to_string() }
}

fn record<'a>(file: &'a [u8], offset: u64, what: &'static str) -> Result<&'a [u8; RECORD_BYTES], BlobError> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    file.get(start..).and_then(|rest| rest.first_chunk()).ok_or_else(|| BlobError::Truncated {
        what,
        offset,
        end: offset.saturating_add(RECORD_BYTES as u64),
        length: file.len() as u64,
    })
}

/// Records are 64 bytes long and fields lie inside them.
fn word(record: &[u8; RECORD_BYTES], at: usize) -> u32 {
    record.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(record: &[u8; RECORD_BYTES], at: usize) -> u64 {
    record.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
