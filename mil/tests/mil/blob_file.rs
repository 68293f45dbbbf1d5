//! Weight files read in place give what weight files in memory give.

use std::io::Cursor;

use anec_mil::DataType;
use anec_mil::blob::{BlobFile, BlobLayout, BlobReader, BlobWriter};

/// Element types that weight files hold.
fn dtypes() -> Vec<DataType> {
    DataType::all().filter(|dtype| dtype.blob_number().is_some()).collect()
}

fn file() -> Vec<u8> {
    let mut layout = BlobLayout::default();
    let mut expected = Vec::new();
    for dtype in dtypes() {
        for count in [0, 1, 5, 8, 63, 1000] {
            let offset = layout.push(dtype, count).expect("small");
            assert!(offset.is_multiple_of(64));
            expected.push((dtype, count));
        }
    }
    let mut writer = BlobWriter::new(Vec::new(), &layout).expect("a vector");
    for (dtype, count) in expected {
        writer.begin(dtype, count).expect("planned");
        let size = usize::try_from(dtype.packed_bytes(count).expect("small")).expect("small");
        let data: Vec<u8> = (0..size).map(|index| u8::try_from(index % 251).expect("small")).collect();
        for part in data.chunks(7) {
            writer.write(part).expect("planned");
        }
    }
    let file = writer.finish().expect("complete");
    assert_eq!(file.len() as u64, layout.total_size());
    file
}

#[test]
fn both_readers_agree_on_every_type_and_length() {
    let file = file();
    let in_memory = BlobReader::new(&file).expect("valid");
    let mut in_place = BlobFile::new(Cursor::new(&file)).expect("valid");
    let blobs = in_place.blobs().expect("valid");
    assert_eq!(blobs, in_memory.blobs().expect("valid"));
    assert_eq!(blobs.len(), dtypes().len() * 6);
    for blob in blobs {
        let data = in_memory.blob(blob.offset, blob.dtype, blob.element_count()).expect("valid");
        assert_eq!(in_place.data(&blob).expect("valid"), data);
    }
}

#[test]
fn records_have_the_bytes_of_known_files() {
    let mut layout = BlobLayout::default();
    layout.push(DataType::Float16, 96 * 64).expect("small");
    layout.push(DataType::Float16, 64).expect("small");
    assert_eq!(layout.push(DataType::UInt4, 64 * 64).expect("small"), 0x3140);
    let mut writer = BlobWriter::new(Vec::new(), &layout).expect("a vector");
    writer.begin(DataType::Float16, 96 * 64).expect("planned");
    writer.write(&[0; 0x3000]).expect("planned");
    writer.begin(DataType::Float16, 64).expect("planned");
    writer.write(&[0; 128]).expect("planned");
    writer.begin(DataType::UInt4, 64 * 64).expect("planned");
    writer.write(&[0; 0x800]).expect("planned");
    let file = writer.finish().expect("complete");
    let record = |offset: usize| file[offset..offset + 24].to_vec();
    let first = [0xef, 0xbe, 0xad, 0xde, 1, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(record(0x40), first);
    let third = [0xef, 0xbe, 0xad, 0xde, 0x0b, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0x80, 0x31, 0, 0, 0, 0, 0, 0];
    assert_eq!(record(0x3140), third);
}

#[test]
fn damaged_files_are_refused_by_both_readers_alike() {
    let good = file();
    let in_memory = |file: &[u8]| BlobReader::new(file).and_then(|reader| reader.blobs()).is_ok();
    let in_place = |file: &[u8]| BlobFile::new(Cursor::new(file)).and_then(|mut reader| reader.blobs()).is_ok();
    assert!(in_memory(&good) && in_place(&good));
    for position in 0..400.min(good.len()) {
        let mut bad = good.clone();
        bad[position] ^= 0x41;
        assert_eq!(in_memory(&bad), in_place(&bad), "byte {position}");
    }
    for length in 0..400 {
        assert!(!in_memory(&good[..length]) && !in_place(&good[..length]), "cut to {length}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(!in_memory(&longer) && !in_place(&longer));
}

#[test]
fn padding_and_reserved_bytes_of_small_elements_must_be_zero() {
    let mut layout = BlobLayout::default();
    layout.push(DataType::UInt4, 6).expect("small");
    layout.push(DataType::UInt4, 6).expect("small");
    let mut writer = BlobWriter::new(Vec::new(), &layout).expect("a vector");
    for _ in 0..2 {
        writer.begin(DataType::UInt4, 6).expect("planned");
        writer.write(&[1, 2, 3]).expect("planned");
    }
    let good = writer.finish().expect("complete");
    for position in [8, 63, 64 + 32, 64 + 63, 128 + 3, 191] {
        let mut bad = good.clone();
        bad[position] = 1;
        assert!(BlobReader::new(&bad).and_then(|reader| reader.blobs()).is_err(), "byte {position}");
        assert!(BlobFile::new(Cursor::new(&bad)).and_then(|mut file| file.blobs()).is_err(), "byte {position}");
    }
}
