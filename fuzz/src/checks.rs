//! One check for each reader of untrusted bytes. A check panics where the reader is wrong, and returns where the input is.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use anec_mil::blob::{BlobError, BlobFile, BlobReader};
use anec_mil::compiled::{
    Analytics, CompileOptions, CompiledModel, CoreMlData, DATA_PATH, PROGRAM_PATH, Unproven, compile, compile_pipeline,
    compiled_members, decompile_pipeline, normalized,
};
use anec_mil::evaluate::{EvaluableFunction, Numerics, State, Tensor, WeightSource};
use anec_mil::package::{FilesInMemory, decode_model, decode_pipeline, encode_model, encode_pipeline};
use anec_mil::{BlobReference, Block, NamedValueType, TensorType, text, verify};
use anec_schemas::Manifest;

/// A reader's check.
pub type Check = fn(&[u8]);

/// Every check by the name of its target.
pub const CHECKS: [(&str, Check); 8] = [
    ("compiled_model", compiled_model),
    ("core_ml_data", core_ml_data),
    ("evaluation", evaluation),
    ("manifest", manifest),
    ("model_message", model_message),
    ("pipeline_message", pipeline_message),
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

/// Pipelines: what is decoded is encoded and decoded again to the same, and compiled members are found again.
pub fn pipeline_message(data: &[u8]) {
    let Ok(Some(pipeline)) = decode_pipeline(data) else { return };
    let encoded = encode_pipeline(&pipeline).expect("was decoded");
    let again = decode_pipeline(&encoded).expect("was encoded").expect("is a pipeline");
    assert!(encode_pipeline(&again).expect("was decoded") == encoded, "encoding is not stable");
    let options = CompileOptions { unproven: Unproven::Allowed, ..CompileOptions::package("model", data) };
    let Ok(compiled) = compile_pipeline(&pipeline, &options) else { return };
    let files: FilesInMemory = compiled.files.into_iter().collect();
    let kinds = compiled_members(&files).expect("was written").expect("is a pipeline");
    assert!(kinds.iter().eq(pipeline.members.iter().map(|member| &member.kind)));
    let read = decompile_pipeline(&files).expect("was written");
    assert_eq!(read.members.len(), pipeline.members.len());
}

/// A compiled model of any kind: `coremldata.bin`, and after it `model.mil`, if there is one.
pub fn compiled_model(data: &[u8]) {
    const PROGRAM: &[u8] = b"program(";
    let split = data.windows(PROGRAM.len()).position(|window| window == PROGRAM).unwrap_or(data.len());
    let (description, program) = data.split_at(split);
    let files: FilesInMemory =
        [(DATA_PATH, description), (PROGRAM_PATH, program), ("model0/coremldata.bin", description)]
            .into_iter()
            .map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
            .collect();
    let _ = compiled_members(&files);
    let _ = decompile_pipeline(&files);
    let Ok(compiled) = CompiledModel::open(files) else { return };
    let Ok((model, notes)) = compiled.model_with_notes() else { return };
    if notes.is_empty() {
        let encoded = encode_model(&model).expect("was read without a note");
        decode_model(&encoded).expect("was encoded");
    }
}

/// Programs that are valid are evaluated, on zeros, within bounds on turns and on memory.
pub fn evaluation(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = text::parse(source) else { return };
    if verify::verify(&parsed.program).is_err() || !parsed.program.functions.values().all(|it| is_small(&it.block)) {
        return;
    }
    for (name, function) in &parsed.program.functions {
        let Ok(evaluable) = EvaluableFunction::new(&parsed.program, name, &NoWeights, Numerics::F32) else { continue };
        let zeros = |input: &NamedValueType| {
            let ty = input.ty.as_tensor()?;
            let shape: Option<Vec<usize>> =
                ty.shape.iter().map(|axis| usize::try_from(axis.fixed().unwrap_or(2)).ok()).collect();
            Some((input.name.clone(), Tensor::zeros(ty.dtype, &shape?).ok()?))
        };
        let few = |(_, tensor): &(String, Tensor)| tensor.count() as u64 <= MOST_ELEMENTS;
        let inputs: BTreeMap<String, Tensor> = function.inputs.iter().filter_map(zeros).filter(few).collect();
        let _ = evaluable.with_iteration_limit(200).run(&inputs, &mut State::default(), None);
    }
}

/// Elements of a value that a check computes.
const MOST_ELEMENTS: u64 = 1 << 12;

/// Whether no value of a block has more elements than a check has time for.
fn is_small(block: &Block) -> bool {
    let of = |value: &NamedValueType| {
        let tensor = value.ty.as_tensor();
        tensor.is_none_or(|ty| {
            ty.shape
                .iter()
                .try_fold(1_u64, |all, axis| all.checked_mul(axis.fixed().unwrap_or(2)))
                .is_some_and(|count| count <= MOST_ELEMENTS)
        })
    };
    block.inputs.iter().all(of)
        && block
            .operations
            .iter()
            .all(|operation| operation.outputs.iter().all(of) && operation.blocks.iter().all(is_small))
}

struct NoWeights;

impl WeightSource for NoWeights {
    fn blob(&self, reference: &BlobReference, _: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        Err(BlobError::Truncated { what: "a blob", offset: reference.offset, end: 0, length: 0 })
    }
}
