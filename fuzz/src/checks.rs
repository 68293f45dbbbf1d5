//! One check for each reader of untrusted bytes. A check panics where the reader is wrong, and returns where the input is.

use std::io::Cursor;

use anec_mil::blob::{BlobFile, BlobReader};
use anec_mil::compiled::{Analytics, CompileOptions, CompiledModel, CoreMlData, compile, normalized};
use anec_mil::package::{decode_model, encode_model};
use anec_mil::{text, verify};
use anec_schemas::Manifest;

/// A reader's check.
pub type Check = fn(&[u8]);

/// Every check by the name of its target.
pub const CHECKS: [(&str, Check); 5] = [
    ("core_ml_data", core_ml_data),
    ("manifest", manifest),
    ("model_message", model_message),
    ("program_text", program_text),
    ("weight_file", weight_file),
];

/// `model.mil`: what is printed is parsed and printed again to the same text. Any program can be verified.
pub fn program_text(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = text::parse(source) else { return };
    let _ = verify::report(&parsed.program);
    let Ok(printed) = text::print(&parsed.program, parsed.version) else { return };
    let again = text::parse(&printed).unwrap_or_else(|error| panic!("printed text does not parse: {error}"));
    assert_eq!(text::print(&again.program, again.version).expect("was printed before"), printed);
}

/// `model.mlmodel`: what is decoded is encoded and decoded again to the same model, and a compiled model is read back.
pub fn model_message(data: &[u8]) {
    let Ok(model) = decode_model(data) else { return };
    let encoded = encode_model(&model).expect("was decoded");
    let again = encode_model(&decode_model(&encoded).expect("was encoded")).expect("was decoded");
    assert!(again == encoded, "encoding is not stable");
    let Ok(files) = compile(&model, &CompileOptions::package("model", data)) else { return };
    let read = CompiledModel::open(files.in_memory()).and_then(|compiled| compiled.model());
    let read = read.unwrap_or_else(|error| panic!("a compiled model is not read: {error:?}"));
    let encode = |model| encode_model(&normalized(model)).expect("was encoded");
    assert!(encode(read) == encode(model), "a compiled model is read as another");
}

/// Weight files: the reader of slices and that of files agree.
pub fn weight_file(data: &[u8]) {
    let in_memory = BlobReader::new(data).and_then(|reader| reader.blobs());
    let in_file = BlobFile::new(Cursor::new(data)).and_then(|mut file| file.blobs());
    assert_eq!(in_memory.as_ref().ok(), in_file.as_ref().ok());
    let (Ok(reader), Ok(blobs)) = (BlobReader::new(data), in_memory) else { return };
    let mut file = BlobFile::new(Cursor::new(data)).expect("was read");
    for blob in blobs {
        let slice = reader.blob(blob.offset, blob.dtype, blob.element_count()).ok();
        let read = file.data(&blob).expect("is there");
        assert_eq!(slice.map(<[u8]>::len), Some(read.len()));
    }
}

/// `coremldata.bin` of either kind: what is read is written and read again.
pub fn core_ml_data(data: &[u8]) {
    if let Ok(read) = CoreMlData::from_bytes(data) {
        let written = read.to_bytes().expect("was read");
        assert_eq!(CoreMlData::from_bytes(&written).expect("was written").to_bytes().expect("was read"), written);
    }
    if let Ok(read) = Analytics::from_bytes(data) {
        assert_eq!(read.to_bytes(), data);
    }
}

/// `Manifest.json`: what is read is written and read again.
pub fn manifest(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(read) = Manifest::from_json(source) else { return };
    assert_eq!(Manifest::from_json(&read.to_json()).expect("was written"), read);
}
