use std::collections::BTreeMap;

use half::f16;

use super::*;
use crate::builder::FunctionBuilder;
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::package::{
    FilesInMemory, FlexibleInputs, FunctionDescription, Model, ModelDescription, PackageError, ShapeFlexibility,
    SizeRange,
};
use crate::program::{NamedValueType, Operation, Program};
use crate::types::{Dimension, TensorType};
use crate::value::Value;

/// A function of `input_ids` with these shapes.
fn model(flexibility: Option<ShapeFlexibility>) -> Model {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let tokens = if flexibility.is_some() { Dimension::Unknown } else { Dimension::Fixed(1) };
    let shape = vec![Dimension::Fixed(1), tokens];
    let input = builder.input("input_ids", TensorType { dtype: DataType::Float16, shape });
    let output = builder.relu("y", &input).expect("valid");
    let function = builder.finish(&[&output]);
    let flexible: FlexibleInputs = flexibility.map(|shapes| ("input_ids".to_owned(), shapes)).into_iter().collect();
    let description = FunctionDescription::of("main", &function, &flexible).expect("describable");
    let program = Program { functions: [("main".to_owned(), function)].into(), attributes: BTreeMap::new() };
    Model { specification_version: 9, description: ModelDescription::single(description), program }
}

fn compiled(model: &Model) -> Result<CompiledFiles, CompiledError> {
    compile(model, &CompileOptions::package("model", b"message"))
}

fn enumerated(shapes: &[u64]) -> ShapeFlexibility {
    ShapeFlexibility::Enumerated(shapes.iter().map(|tokens| vec![1, *tokens]).collect())
}

fn range(lower: u64, upper: Option<u64>) -> ShapeFlexibility {
    ShapeFlexibility::Ranges(vec![SizeRange { lower: 1, upper: Some(1) }, SizeRange { lower, upper }])
}

#[test]
fn a_compiled_model_reads_back_as_the_model_that_was_compiled() {
    for flexibility in [None, Some(enumerated(&[1, 64])), Some(range(1, Some(128)))] {
        let model = model(flexibility);
        let files = compiled(&model).expect("compilable");
        let read = CompiledModel::open(files.in_memory()).and_then(|compiled| compiled.model());
        assert_eq!(read.expect("valid"), model);
    }
}

#[test]
fn shapes_of_flexible_inputs_stand_in_the_program() {
    let files = compiled(&model(Some(enumerated(&[1, 64])))).expect("compilable");
    let expected =
        r#"("EnumeratedShapes", {{"79ae981e", {{"input_ids", [1, 1]}}}, {"ed9b58c8", {{"input_ids", [1, 64]}}}})"#;
    assert!(files.program.contains(expected), "{}", files.program);
    let files = compiled(&model(Some(range(1, Some(128))))).expect("compilable");
    assert!(files.program.contains(r#"("DefaultShapes", {{"input_ids", [1, 1]}})"#), "{}", files.program);
    assert!(files.program.contains(r#"("RangeDims", {{"input_ids", [[1, 1], [1, 128]]}})"#), "{}", files.program);
}

#[test]
fn shapes_without_a_known_form_are_not_compiled() {
    for (flexibility, expected) in [(enumerated(&[1, 65]), "labels are not known"), (range(1, None), "without a bound")]
    {
        assert!(!has_known_form("input_ids", &flexibility));
        let error = compiled(&model(Some(flexibility))).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A model that begins with this constant.
fn with_constant(value: Value) -> Model {
    let mut model = model(None);
    let operation = Operation {
        op: "const".to_owned(),
        inputs: BTreeMap::new(),
        outputs: vec![NamedValueType::new("c", value.ty.clone())],
        attributes: [("name".to_owned(), Value::string("c")), ("val".to_owned(), value)].into(),
        blocks: Vec::new(),
    };
    let function = model.program.functions.get_mut("main").expect("the only function");
    function.block.operations.insert(0, operation);
    model
}

#[test]
fn constants_without_a_known_text_are_not_compiled() {
    for (constant, expected) in [
        (Value::string("a \"quote\""), "quote"),
        (Value::string("a\nline"), "control character"),
        (Value::fp32(f32::from_bits(f32::NAN.to_bits() | 1)), "nan"),
        (Value::fp16(f16::from_bits(f16::NAN.to_bits() | 1)), "nan"),
    ] {
        let error = compiled(&with_constant(constant)).expect_err(expected);
        assert!(matches!(error, CompiledError::Constant { .. }), "{error:?}");
        assert!(error.to_string().starts_with("`val` of `c` in `main` has"), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let files = compiled(&with_constant(Value::fp32(f32::NAN))).expect("compilable");
    assert!(files.program.contains("val = fp32(nan)"), "{}", files.program);
}

#[test]
fn labels_of_others_are_read() {
    let files = compiled(&model(Some(enumerated(&[1, 64])))).expect("compilable");
    let mut other = files.in_memory();
    other.insert(PROGRAM_PATH.to_owned(), files.program.replace("ed9b58c8", "fedcba98").into_bytes());
    assert!(CompiledModel::open(other).and_then(|compiled| compiled.model()).is_ok());
}

#[test]
fn a_program_that_contradicts_its_description_is_refused() {
    let files = compiled(&model(Some(range(1, Some(128))))).expect("compilable");
    for (from, to, expected) in [
        ("[1, 128]", "[1, 129]", "shapes of the flexible inputs"),
        ("input_ids", "input_id", "not there"),
        ("tensor<fp16, [1, ?]>", "tensor<fp32, [1, ?]>", "fp32"),
        ("func main", "func other", "main"),
    ] {
        let mut other = files.in_memory();
        other.insert(PROGRAM_PATH.to_owned(), files.program.replace(from, to).into_bytes());
        let error = CompiledModel::open(other).and_then(|compiled| compiled.model()).expect_err(to);
        assert!(error.to_string().contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_description_that_contradicts_its_program_is_not_compiled() {
    let mut renamed = model(None);
    renamed.description.functions[0].inputs[0].name = "tokens".to_owned();
    assert!(matches!(compiled(&renamed), Err(CompiledError::Interface { .. })));
    let mut optional = model(None);
    optional.description.functions[0].inputs[0].optional = true;
    assert!(matches!(compiled(&optional), Err(CompiledError::Flexible { .. })));
    let mut newer = model(None);
    newer.specification_version = 10;
    assert!(matches!(compiled(&newer), Err(CompiledError::Data(DataError::SpecificationVersion { .. }))));
}

#[test]
fn every_cut_or_changed_description_is_an_error_or_another_description() {
    let files = compiled(&model(Some(range(1, Some(128))))).expect("compilable");
    for length in 0..files.data.len() {
        assert!(CoreMlData::from_bytes(&files.data[..length]).is_err(), "cut to {length} bytes");
    }
    let mut longer = files.data.clone();
    longer.push(0);
    assert!(matches!(CoreMlData::from_bytes(&longer), Err(DataError::Trailing { .. })));
    let mut pipeline = files.data;
    pipeline[..4].copy_from_slice(&202_i32.to_le_bytes());
    let error = CoreMlData::from_bytes(&pipeline).expect_err("a pipeline");
    assert_eq!(error.to_string(), "the model is a `pipeline`, expected an `mlProgram`");
}

#[test]
fn a_missing_file_is_named() {
    let error = CompiledModel::open(FilesInMemory::new()).map(|_| ()).expect_err("nothing is there");
    assert!(matches!(error, CompiledError::File(PackageError::Io { path, .. }) if path == DATA_PATH));
}

#[test]
fn versions_of_the_compiler_follow_the_specification() {
    for (specification, compiler) in [(6, 5), (7, 5), (8, 8), (9, 9)] {
        let model = Model { specification_version: specification, ..model(None) };
        let data = CoreMlData { specification_version: specification, description: model.description };
        let bytes = data.to_bytes().expect("known");
        assert_eq!(bytes[4..12], u64::to_le_bytes(compiler));
        assert_eq!(CoreMlData::from_bytes(&bytes).and_then(|data| data.to_bytes()).expect("valid"), bytes);
    }
}
