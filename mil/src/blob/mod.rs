//! MILBlob v2 weight files: a header, then blobs, each behind a 64-byte record that says what it is.
//!
//! # Source
//! `MILBlob/Blob/StorageFormat.hpp` and `BlobDataType.hpp`, coremltools@e0e2f42b; bytes compared with files that
//! coremltools wrote. All numbers are little-endian.

mod file;
mod layout;
mod reader;
mod writer;

pub use file::BlobFile;
pub use layout::BlobLayout;
pub use reader::{Blob, BlobReader};
pub use writer::BlobWriter;

use crate::dtype::DataType;

/// Every record and every blob starts at a multiple of this many bytes.
pub const ALIGNMENT: u64 = 64;

/// Bytes of the file header and of a blob's record.
const RECORD_BYTES: usize = 64;

/// First word of a blob's record.
const SENTINEL: u32 = 0xDEAD_BEEF;

/// Version of the file format.
const VERSION: u32 = 2;

/// A weight file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Elements that have no place in a weight file, such as strings.
    #[error("Elements of type {0} cannot stand in a weight file")]
    Unsupported(DataType),
    /// A size beyond 64 bits.
    #[error("A blob of {count} elements of type {dtype} is too large")]
    TooLarge {
        /// Element type.
        dtype: DataType,
        /// Element count.
        count: u64,
    },
    /// Blobs are written in another order than planned.
    #[error("Blob {index} is {found}, planned as {expected}")]
    Unplanned {
        /// Position in the file.
        index: usize,
        /// What was planned.
        expected: String,
        /// What came.
        found: String,
    },
    /// A blob with more or fewer bytes than its elements take.
    #[error("Blob {index} has {found} bytes, expected {expected}")]
    Length {
        /// Position in the file.
        index: usize,
        /// Bytes that its elements take.
        expected: u64,
        /// Bytes written.
        found: u64,
    },
    /// The file ends before something that must be there.
    #[error("Weight file: {what} at offset {offset} ends at {end}, but the file has {length} bytes")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Where it starts.
        offset: u64,
        /// Where it would end.
        end: u64,
        /// Bytes in the file.
        length: u64,
    },
    /// A field with a value that it cannot have.
    #[error("Weight file: {field} at offset {offset} is {found}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Offset of its record.
        offset: u64,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The disk.
    #[error("Cannot access the weight file")]
    Io(#[from] std::io::Error),
}

/// Bytes of a blob and the unused bits of its last one.
fn blob_size(dtype: DataType, count: u64) -> Result<(u64, u64), BlobError> {
    if dtype.blob_number().is_none() {
        return Err(BlobError::Unsupported(dtype));
    }
    let bytes = dtype.packed_bytes(count).ok_or(BlobError::TooLarge { dtype, count })?;
    Ok((bytes, bytes * 8 - count * u64::from(dtype.bits())))
}

/// `offset` rounded up to the alignment.
fn aligned(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    /// Two blobs: fp16 `[1, 2, 3]` and uint3 `0..8`, whose bytes are known from a file that coremltools wrote.
    fn sample() -> Vec<u8> {
        let mut layout = BlobLayout::default();
        assert_eq!(layout.push(DataType::Float16, 3).ok(), Some(64));
        assert_eq!(layout.push(DataType::UInt3, 8).ok(), Some(192));
        let mut file = Vec::new();
        let mut writer = BlobWriter::new(&mut file, &layout).expect("a vector takes everything");
        writer.begin(DataType::Float16, 3).expect("as planned");
        writer.write(&[0x00, 0x3c, 0x00, 0x40, 0x00, 0x42]).expect("as planned");
        writer.begin(DataType::UInt3, 8).expect("as planned");
        writer.write(&[0x88, 0xc6]).expect("as planned");
        writer.write(&[0xfa]).expect("as planned");
        writer.finish().expect("complete");
        assert_eq!(file.len() as u64, layout.total_size());
        file
    }

    #[test]
    fn a_frame_with_data_at_its_offsets_is_the_same_file() {
        let mut layout = BlobLayout::default();
        let placed = [(DataType::Float16, 3), (DataType::UInt3, 8)].map(|(dtype, count)| layout.push(dtype, count));
        let mut file = Cursor::new(Vec::new());
        let data: [&[u8]; 2] = [&[0x00, 0x3c, 0x00, 0x40, 0x00, 0x42], &[0x88, 0xc6, 0xfa]];
        let data = placed.into_iter().map(|record| BlobLayout::data_offset(record.expect("small"))).zip(data);
        let frame = layout.frame().expect("two blobs");
        for (offset, bytes) in data.chain(frame.iter().map(|(offset, bytes)| (*offset, bytes.as_slice()))) {
            file.set_position(offset);
            file.write_all(bytes).expect("a vector takes everything");
        }
        assert_eq!(file.into_inner(), sample());
    }

    #[test]
    fn a_written_file_reads_back() {
        let file = sample();
        assert_eq!(&file[..8], &[2, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(&file[64..68], &[0xef, 0xbe, 0xad, 0xde]);
        let reader = BlobReader::new(&file).expect("valid");
        let blobs = reader.blobs().expect("valid");
        assert_eq!(
            blobs.iter().map(|blob| (blob.offset, blob.dtype)).collect::<Vec<_>>(),
            [(64, DataType::Float16), (192, DataType::UInt3)]
        );
        let blob = reader.blob(192, DataType::UInt3, 8).expect("valid");
        assert_eq!(blob, [0x88, 0xc6, 0xfa]);
    }

    #[test]
    fn the_last_byte_of_sub_byte_elements_says_what_it_leaves_unused() {
        assert_eq!(blob_size(DataType::UInt3, 3).ok(), Some((2, 7)));
        assert_eq!(blob_size(DataType::UInt4, 3).ok(), Some((2, 4)));
        assert_eq!(blob_size(DataType::Float32, 3).ok(), Some((12, 0)));
        assert!(blob_size(DataType::String, 1).is_err());
    }

    #[test]
    fn blobs_out_of_plan_are_refused() {
        let mut layout = BlobLayout::default();
        layout.push(DataType::Float16, 3).expect("small");
        let mut writer = BlobWriter::new(Vec::new(), &layout).expect("a vector takes everything");
        assert!(matches!(writer.begin(DataType::Float16, 4), Err(BlobError::Unplanned { .. })));
        writer.begin(DataType::Float16, 3).expect("as planned");
        assert!(matches!(writer.write(&[0; 7]), Err(BlobError::Length { .. })));
        assert!(matches!(writer.finish(), Err(BlobError::Length { .. })));
    }

    #[test]
    fn every_broken_file_is_an_error() {
        let good = sample();
        let read = |file: &[u8]| BlobReader::new(file).and_then(|reader| reader.blobs().map(|blobs| blobs.len()));
        assert_eq!(read(&good).ok(), Some(2));
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut to {length} bytes");
        }
        for (offset, byte) in [(0, 3), (4, 1), (64, 0), (68, 99), (72, 0xff), (80, 0), (192 + 24, 9), (192 + 40, 9)] {
            let mut bad = good.clone();
            bad[offset] = byte;
            assert!(read(&bad).is_err(), "byte {byte} at {offset}");
        }
        // What no writer filled in is not looked at.
        let mut old = good.clone();
        old[64 + 24..128].fill(0xa5);
        assert_eq!(read(&old).ok(), Some(2));
        let reader = BlobReader::new(&good).expect("valid");
        assert!(reader.blob(65, DataType::Float16, 3).is_err());
        assert!(reader.blob(64, DataType::Float32, 3).is_err());
        assert!(reader.blob(64, DataType::Float16, 2).is_err());
        assert!(reader.blob(u64::MAX - 63, DataType::Float16, 2).is_err());
    }
}
