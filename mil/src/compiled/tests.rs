use std::collections::BTreeMap;

use half::f16;

use super::*;
use crate::builder::FunctionBuilder;
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::package::{
    ColorSpace, FeatureDescription, FeatureType, FilesInMemory, FlexibleInputs, FunctionDescription, Image,
    ImageFlexibility, ImageSize, Model, ModelDescription, PackageError, ShapeFlexibility, SizeRange,
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

/// Compiled with forms that no one has shown.
fn unproven(model: &Model) -> Result<CompiledFiles, CompiledError> {
    compile(model, &CompileOptions { unproven: Unproven::Allowed, ..CompileOptions::package("model", b"message") })
}

/// Requires that a model is compiled only where unproven forms are allowed, names them, and reads back.
fn only_unproven(model: &Model, words: &[&str]) -> CompiledFiles {
    let error = compiled(model).expect_err("unproven");
    let CompiledError::Unproven { forms } = &error else { panic!("{error:?}") };
    assert_eq!(forms.len(), words.len(), "{forms:?}");
    for (form, words) in forms.iter().zip(words) {
        assert!(form.contains(words), "{form}");
    }
    assert!(error.to_string().starts_with("No compiled model was seen with "), "{error}");
    let files = unproven(model).expect("compilable");
    assert_eq!(files.unproven, *forms);
    let read = CompiledModel::open(files.in_memory()).and_then(|compiled| compiled.model()).expect("valid");
    assert_eq!(read, normalized(model.clone()));
    files
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
fn shapes_without_a_known_form_are_compiled_on_request_only() {
    for (flexibility, words, text) in [
        (enumerated(&[1, 65]), "labels are not known", r#"("EnumeratedShapes", {{"#),
        (range(1, None), "without a bound", r#"("RangeDims", {{"input_ids", [[1, 1], [1, -1]]}})"#),
    ] {
        assert!(!has_known_form("input_ids", &flexibility));
        let files = only_unproven(&model(Some(flexibility)), &[words]);
        assert!(files.program.contains(text), "{}", files.program);
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
fn texts_of_any_characters_are_compiled_on_request_only() {
    for text in ["a \"quote\"", "a\nline", "back\\slash"] {
        only_unproven(&with_constant(Value::string(text)), &["`val` of `c` in `main`: a quote, a backslash"]);
    }
    let plain = with_constant(Value::string("größer ✓ 猫"));
    let files = compiled(&plain).expect("compilable");
    let read = CompiledModel::open(files.in_memory()).and_then(|compiled| compiled.model()).expect("valid");
    assert_eq!(read, plain);
}

#[test]
fn metadata_takes_any_text() {
    let mut described = model(None);
    let text = "a \"quote\", a \\, a\nline, größer ✓ 猫".to_owned();
    described.description.metadata = Some(crate::package::Metadata {
        short_description: text.clone(),
        author: text.clone(),
        user_defined: [(text.clone(), text.clone())].into(),
        ..crate::package::Metadata::default()
    });
    let files = compiled(&described).expect("compilable");
    let read = CompiledModel::open(files.in_memory()).and_then(|compiled| compiled.model()).expect("valid");
    assert_eq!(read, described);
    let metadata: serde_json::Value = serde_json::from_str(&files.metadata).expect("JSON");
    assert_eq!(metadata[0]["author"], text.as_str());
    assert_eq!(metadata[0]["userDefinedMetadata"][&text], text.as_str());
}

#[test]
fn constants_that_their_text_would_change_are_not_compiled() {
    for constant in
        [Value::fp32(f32::from_bits(f32::NAN.to_bits() | 1)), Value::fp16(f16::from_bits(f16::NAN.to_bits() | 1))]
    {
        let error = unproven(&with_constant(constant)).expect_err("another nan");
        assert!(matches!(error, CompiledError::Constant { .. }), "{error:?}");
        assert!(error.to_string().starts_with("`val` of `c` in `main` has a nan"), "{error}");
    }
    let files = compiled(&with_constant(Value::fp32(f32::NAN))).expect("compilable");
    assert!(files.program.contains("val = fp32(nan)"), "{}", files.program);
}

/// A function of an image in this color space.
fn of_image(color_space: ColorSpace, flexibility: Option<ImageFlexibility>) -> Model {
    let mut builder = FunctionBuilder::new(Opset::Ios16);
    let size = if flexibility.is_some() { [Dimension::Unknown; 2] } else { [3, 4].map(Dimension::Fixed) };
    let shape = [&[1, color_space.channels()].map(Dimension::Fixed)[..], &size].concat();
    let input = builder.input("image", TensorType { dtype: DataType::Float16, shape });
    let output = builder.relu("y", &input).expect("valid");
    let function = builder.finish(&[&output]);
    let image = Image { size: ImageSize { width: 4, height: 3 }, color_space, flexibility };
    let description = FunctionDescription {
        name: "main".to_owned(),
        inputs: vec![FeatureDescription::new("image", FeatureType::Image(image.clone()))],
        outputs: vec![FeatureDescription::new("y", FeatureType::Image(image))],
        ..FunctionDescription::default()
    };
    let program = Program { functions: [("main".to_owned(), function)].into(), attributes: BTreeMap::new() };
    Model { specification_version: 7, description: ModelDescription::single(description), program }
}

#[test]
fn images_of_one_size_are_compiled_and_described() {
    for (color_space, formatted, color) in [
        (ColorSpace::Rgb, "Image (Color 4 × 3)", "1"),
        (ColorSpace::Bgr, "Image (Color 4 × 3)", "1"),
        (ColorSpace::Grayscale, "Image (Grayscale 4 × 3)", "0"),
        (ColorSpace::GrayscaleFloat16, "Image (Grayscale 4 × 3)", "0"),
    ] {
        let model = of_image(color_space, None);
        let files = compiled(&model).expect("compilable");
        let read = CompiledModel::open(files.in_memory()).and_then(|compiled| compiled.model()).expect("valid");
        assert_eq!(read, model);
        let metadata: serde_json::Value = serde_json::from_str(&files.metadata).expect("JSON");
        let schema = &metadata[0]["inputSchema"][0];
        for (key, value) in [
            ("type", "Image"),
            ("formattedType", formatted),
            ("width", "4"),
            ("height", "3"),
            ("colorspace", color_space.name()),
            ("isColor", color),
            ("hasSizeFlexibility", "0"),
        ] {
            assert_eq!(schema[key], value, "{key}");
        }
    }
}

#[test]
fn images_of_several_sizes_are_compiled_on_request_only() {
    let lengths = SizeRange { lower: 2, upper: Some(8) };
    let sizes = [(4, 3), (8, 6)].map(|(width, height)| ImageSize { width, height }).to_vec();
    for (flexibility, text) in [
        (ImageFlexibility::Ranges { width: lengths, height: lengths }, "[[1, 1], [3, 3], [2, 8], [2, 8]]"),
        (ImageFlexibility::Enumerated(sizes), r#"{{"image", [1, 3, 6, 8]}}"#),
    ] {
        let files = only_unproven(&of_image(ColorSpace::Rgb, Some(flexibility)), &["an image of several sizes"]);
        assert!(files.program.contains(text), "{}", files.program);
    }
}

#[test]
fn an_image_that_the_program_sees_otherwise_is_not_compiled() {
    let mut model = of_image(ColorSpace::Rgb, None);
    let FeatureType::Image(image) = &mut model.description.functions[0].inputs[0].ty else { panic!("an image") };
    image.size.width = 5;
    let error = compiled(&model).expect_err("another size");
    assert!(error.to_string().contains("`image` of `main` is tensor<fp16, [1, 3, 3, 4]>"), "{error}");
    assert!(error.to_string().contains("a RGB image of 5 × 3"), "{error}");
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
}

#[test]
fn optional_inputs_and_newer_versions_are_compiled_on_request_only() {
    let mut optional = model(None);
    optional.description.functions[0].inputs[0].optional = true;
    only_unproven(&optional, &["`input_ids` of `main`: an optional input"]);
    let mut newer = model(None);
    newer.specification_version = 10;
    only_unproven(&newer, &["specification version 10"]);
}

#[test]
fn ops_that_no_compiled_model_was_seen_with_are_compiled_on_request_only() {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let input = builder.input("x", TensorType::fixed(DataType::Float16, &[1, 4]));
    let output = builder.relu("y", &input).expect("valid");
    let mut function = builder.finish(&[&output]);
    let unseen = crate::ops::OPS.iter().find(|decl| decl.name == "square" || decl.name == "abs");
    let unseen = unseen.expect("elementwise ops").name;
    function.block.operations[0].op = unseen.to_owned();
    let evidence = crate::ops::find(unseen).expect("known").evidence;
    let mut model = model(None);
    model.description = ModelDescription::single(
        FunctionDescription::of("main", &function, &FlexibleInputs::new()).expect("describable"),
    );
    model.program.functions = [("main".to_owned(), function)].into();
    if evidence == crate::ops::decl::Evidence::None {
        only_unproven(&model, &[unseen]);
    } else {
        compiled(&model).expect("compilable");
    }
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
