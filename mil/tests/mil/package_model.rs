//! Packages in memory: both forms of the description, weights, and packages that are broken or hostile.

use std::collections::BTreeMap;

use anec_mil::blob::{BlobLayout, BlobWriter};
use anec_mil::package::{
    ArrayDefault, Classifier, ColorSpace, FeatureDescription, FeatureType, FilesInMemory, FlexibleInputs,
    FunctionDescription, Image, ImageFlexibility, ImageSize, KeyType, MANIFEST_PATH, MODEL_PATH, Metadata, Model,
    ModelDescription, ModelError, MultiArray, Package, PackageError, ShapeFlexibility, SizeRange, WEIGHTS_PATH,
    decode_model, decode_model_with_notes, encode_model,
};
use anec_mil::{
    Argument, BlobReference, Block, DataType, Dimension, Function, NamedValueType, Operation, Opset, Program,
    TensorType, Value, ValueType, WEIGHT_FILE,
};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use anec_schemas::proto::{Message, specification as pb};
use proptest::prelude::*;

fn layout() -> BlobLayout {
    let mut layout = BlobLayout::default();
    layout.push(DataType::Float16, 12).expect("small");
    layout
}

fn weight_file() -> Vec<u8> {
    let mut writer = BlobWriter::new(Vec::new(), &layout()).expect("a vector");
    writer.begin(DataType::Float16, 12).expect("planned");
    writer.write(&[7; 24]).expect("planned");
    writer.finish().expect("complete")
}

fn function(tokens: Dimension) -> Function {
    let shape = vec![Dimension::Fixed(1), tokens];
    let x = TensorType { dtype: DataType::Float16, shape };
    let weight = TensorType::fixed(DataType::Float16, &[1, 12]);
    let reference = BlobReference { file_name: WEIGHT_FILE.to_owned(), offset: 64 };
    let operation = |op: &str, name: &str, ty: &TensorType| Operation {
        op: op.to_owned(),
        inputs: BTreeMap::new(),
        outputs: vec![NamedValueType::new(name, ty.clone())],
        attributes: BTreeMap::from([("name".to_owned(), Value::string(name))]),
        blocks: Vec::new(),
    };
    let mut constant = operation("const", "weight", &weight);
    constant.attributes.insert("val".to_owned(), Value::blob(weight, reference));
    let mut add = operation("add", "out", &x);
    add.inputs = [("x", "x"), ("y", "weight")].map(|(key, name)| (key.to_owned(), Argument::name(name))).into();
    Function {
        inputs: vec![
            NamedValueType::new("x", x),
            NamedValueType::new("cache", ValueType::State(TensorType::fixed(DataType::Float16, &[1, 32]))),
        ],
        opset: Opset::Ios18,
        block: Block { inputs: Vec::new(), operations: vec![constant, add], outputs: vec!["out".to_owned()] },
        attributes: BTreeMap::new(),
    }
}

fn several() -> Model {
    let functions =
        [("infer", 1), ("prefill", 12)].map(|(name, tokens)| (name.to_owned(), function(Dimension::Fixed(tokens))));
    let describe = |(name, function): &(String, Function)| {
        FunctionDescription::of(name, function, &FlexibleInputs::new()).expect("static shapes")
    };
    let metadata = Metadata {
        short_description: "a".to_owned(),
        version: "1".to_owned(),
        author: "b".to_owned(),
        license: "MIT".to_owned(),
        user_defined: [("key".to_owned(), "value".to_owned())].into(),
    };
    Model {
        specification_version: 9,
        description: ModelDescription {
            metadata: Some(metadata),
            ..ModelDescription::multiple(functions.iter().map(describe).collect(), "infer")
        },
        program: Program { functions: functions.into(), attributes: BTreeMap::new() },
    }
}

fn single(flexibility: ShapeFlexibility) -> Model {
    let function = function(Dimension::Unknown);
    let flexible = FlexibleInputs::from([("x".to_owned(), flexibility)]);
    let description = FunctionDescription::of("anything", &function, &flexible).expect("shapes are given");
    Model {
        specification_version: 9,
        description: ModelDescription::single(description),
        program: Program { functions: [("main".to_owned(), function)].into(), attributes: BTreeMap::new() },
    }
}

fn package(model: &Model) -> FilesInMemory {
    FilesInMemory::from([
        (MANIFEST_PATH.to_owned(), Manifest::for_package(Weights::Present).to_json().into_bytes()),
        (MODEL_PATH.to_owned(), encode_model(model).expect("valid")),
        (WEIGHTS_PATH.to_owned(), weight_file()),
    ])
}

#[test]
fn a_package_with_several_functions_is_read_back() {
    let model = several();
    let package = Package::open(package(&model)).expect("valid");
    assert_eq!(package.model().expect("valid"), model);
    let mut weights = package.weights(WEIGHT_FILE).expect("is there");
    let blobs = weights.blobs().expect("valid");
    assert_eq!(blobs.len(), 1);
    assert_eq!(weights.data(&blobs[0]).expect("readable"), [7; 24]);
}

#[test]
fn several_functions_leave_the_top_level_empty() {
    let message = several().to_proto().expect("valid").description.expect("is there");
    assert!(message.input.is_empty() && message.output.is_empty() && message.state.is_empty());
    assert_eq!(message.default_function_name, "infer");
    assert_eq!(message.functions.len(), 2);
}

#[test]
fn one_function_is_described_at_the_top_level() {
    let shapes = vec![vec![1, 1], vec![1, 12]];
    let model = single(ShapeFlexibility::Enumerated(shapes));
    let message = model.to_proto().expect("valid").description.expect("is there");
    assert!(message.functions.is_empty());
    assert_eq!((message.input.len(), message.output.len(), message.state.len()), (1, 1, 1));
    assert_eq!(decode_model(&encode_model(&model).expect("valid")).expect("own bytes"), model);
    let function = &model.description.functions[0];
    assert_eq!(function.inputs[0].array().expect("an array").shape, [1, 1]);
    assert!(function.outputs[0].array().expect("an array").shape.is_empty());
}

#[test]
fn ranges_defaults_and_optional_inputs_survive() {
    let fixed = SizeRange { lower: 1, upper: Some(1) };
    let mut model = single(ShapeFlexibility::Ranges(vec![fixed, SizeRange { lower: 2, upper: None }]));
    let input = &mut model.description.functions[0].inputs[0];
    assert_eq!(input.array().expect("an array").shape, [1, 2]);
    input.optional = true;
    input.short_description = "Anything".to_owned();
    let defaults = [ArrayDefault::Int(-1), ArrayDefault::Float(0.5), ArrayDefault::Double(0.1)];
    let dtypes = [DataType::Int32, DataType::Float32, DataType::Float64];
    for (default, dtype) in defaults.into_iter().zip(dtypes) {
        let array = MultiArray { default_value: Some(default), ..MultiArray::fixed(dtype, &[3]) };
        model.description.functions[0].inputs.push(FeatureDescription::multi_array(dtype.to_string(), array));
    }
    assert_eq!(decode_model(&encode_model(&model).expect("valid")).expect("own bytes"), model);
}

#[test]
fn equal_models_have_equal_bytes() {
    assert_eq!(encode_model(&several()).expect("valid"), encode_model(&several()).expect("valid"));
}

#[test]
fn descriptions_that_contradict_the_program_are_errors() {
    let mut model = several();
    model.description.functions.pop();
    assert!(matches!(encode_model(&model), Err(ModelError::Function { present: "program", .. })));
    let mut model = several();
    model.program.functions.remove("prefill");
    assert!(matches!(encode_model(&model), Err(ModelError::Function { absent: "program", .. })));
    let mut model = several();
    model.description.default_function = Some("other".to_owned());
    assert!(matches!(encode_model(&model), Err(ModelError::Function { name, .. }) if name == "other"));
    let mut model = several();
    model.description.default_function = None;
    assert!(matches!(encode_model(&model), Err(ModelError::Form { functions: 2, .. })));
    let mut model = several();
    model.specification_version = 11;
    assert!(matches!(encode_model(&model), Err(ModelError::SpecificationVersion { found: 11 })));
    let unknown = FunctionDescription::of("f", &function(Dimension::Unknown), &FlexibleInputs::new());
    assert!(matches!(unknown, Err(ModelError::UnknownShape { feature, .. }) if feature == "x"));
}

fn read_changed(change: impl FnOnce(&mut pb::Model)) -> ModelError {
    let mut message = several().to_proto().expect("valid");
    change(&mut message);
    decode_model(&message.encode_to_vec()).expect_err("unsupported")
}

fn description(message: &mut pb::Model) -> &mut pb::ModelDescription {
    message.description.as_mut().expect("is there")
}

#[test]
fn models_that_are_not_supported_say_why() {
    // Field 500 of `Model`, an empty message.
    let network = [0x08, 4, 0xa2, 0x1f, 0];
    assert!(matches!(decode_model(&network), Err(ModelError::Kind { kind: "neuralNetwork" })));
    assert!(matches!(decode_model(&[0x08, 9]), Err(ModelError::NoProgram)));
    assert!(matches!(decode_model(&[0x08, 9, 0xf8, 0x07, 1]), Err(ModelError::Fields(_))));
    let updatable = read_changed(|message| message.is_updatable = true);
    assert!(matches!(updatable, ModelError::Unsupported { field: "isUpdatable" }));

    let both = read_changed(|message| {
        let feature = description(message).functions[0].input[0].clone();
        description(message).input.push(feature);
    });
    assert!(matches!(both, ModelError::BothForms { field: "input" }));
    let classifier = read_changed(|message| description(message).predicted_feature_name = "label".to_owned());
    assert!(matches!(classifier, ModelError::BothForms { field: "predictedFeatureName" }));
    let image = read_changed(|message| {
        let image = pb::feature_type::Type::ImageType(pb::ImageFeatureType::default());
        let ty = pb::FeatureType { r#type: Some(image), is_optional: false };
        description(message).functions[0].input[0].r#type = Some(ty);
    });
    assert_eq!(image.to_string(), "Feature `x` has color space 0, expected 10, 20, 30 or 40");
}

#[test]
fn other_kinds_of_models_say_what_to_do_with_them() {
    // Fields 500, 202, 200 and 402 of `Model`, each an empty message.
    for (message, words) in [
        ([0x08, 4, 0xa2, 0x1f, 0], "mlprogram"),
        ([0x08, 4, 0xd2, 0x0c, 0], "name one of them"),
        ([0x08, 4, 0xc2, 0x0c, 0], "take those that are ML Programs out"),
        ([0x08, 4, 0x92, 0x19, 0], "xcrun coremlcompiler"),
    ] {
        let error = decode_model(&message).expect_err("another kind");
        assert!(error.hint().expect("a hint").contains(words), "{error}");
        assert!(decode_model_with_notes(&message).is_err());
    }
}

#[test]
fn what_came_later_is_a_note_for_readers_and_an_error_for_writers() {
    let mut message = several().to_proto().expect("valid");
    message.specification_version = 11;
    message.is_updatable = true;
    let mut bytes = message.encode_to_vec();
    // The unknown field 99, a number.
    bytes.extend([0x98, 0x06, 1]);
    assert!(matches!(decode_model(&bytes), Err(ModelError::Fields(_))));
    let (model, notes) = decode_model_with_notes(&bytes).expect("readable");
    assert_eq!(model.description, several().description);
    assert_eq!(notes.len(), 3);
    for (note, words) in notes.iter().zip(["unknown field 99", "version 11", "isUpdatable"]) {
        assert!(note.contains(words), "{note}");
    }
}

#[test]
fn features_of_every_type_survive() {
    let mut model = several();
    let description = &mut model.description.functions[0];
    let size = ImageSize { width: 4, height: 3 };
    let lengths = SizeRange { lower: 1, upper: None };
    let images = [
        (ColorSpace::Rgb, None),
        (ColorSpace::Bgr, Some(ImageFlexibility::Enumerated(vec![size, ImageSize { width: 8, height: 6 }]))),
        (ColorSpace::Grayscale, Some(ImageFlexibility::Ranges { width: lengths, height: lengths })),
        (ColorSpace::GrayscaleFloat16, None),
    ];
    for (color_space, flexibility) in images {
        let image = FeatureType::Image(Image { size, color_space, flexibility });
        description.inputs.push(FeatureDescription::new(color_space.name(), image));
    }
    for (position, ty) in [
        FeatureType::Int64,
        FeatureType::Double,
        FeatureType::String,
        FeatureType::Dictionary(KeyType::Int64),
        FeatureType::Dictionary(KeyType::String),
        FeatureType::Sequence { elements: KeyType::Int64, lengths: Some(lengths) },
        FeatureType::Sequence { elements: KeyType::String, lengths: None },
    ]
    .into_iter()
    .enumerate()
    {
        description.outputs.push(FeatureDescription::new(format!("output_{position}"), ty));
    }
    description.classifier =
        Some(Classifier { predicted_feature: "output_2".to_owned(), predicted_probabilities: "output_4".to_owned() });
    assert_eq!(decode_model(&encode_model(&model).expect("valid")).expect("own bytes"), model);
}

#[test]
fn files_that_stand_for_others_are_named() {
    for (bytes, words) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"[..], "a Git LFS pointer"),
        (b"PK\x03\x04", "a zip archive"),
        (b"<!DOCTYPE html>", "a web page"),
    ] {
        for path in [MODEL_PATH, MANIFEST_PATH, WEIGHTS_PATH] {
            let mut files = package(&several());
            files.insert(path.to_owned(), bytes.to_vec());
            let error = match Package::open(files) {
                Err(error) => error,
                Ok(package) if path == MODEL_PATH => package.model().expect_err("no model"),
                Ok(package) => package.weights(WEIGHT_FILE).map(|_| ()).expect_err("no weights"),
            };
            assert_eq!(error.to_string(), format!("`{path}` of the model is {words}"));
            assert!(error.hint().is_some());
        }
    }
}

#[test]
fn names_that_lead_out_of_the_package_are_refused() {
    let mut files = package(&several());
    let text = Manifest::for_package(Weights::Present).to_json();
    let outside = text.replace("com.apple.CoreML/model.mlmodel", "../../model.mlmodel");
    files.insert(MANIFEST_PATH.to_owned(), outside.into_bytes());
    assert!(matches!(Package::open(files), Err(PackageError::Path(_))));

    let package = Package::open(package(&several())).expect("valid");
    for name in ["@model_path/../weight.bin", "/etc/passwd", "..", ""] {
        assert!(matches!(package.weights(name), Err(PackageError::Path(_))), "{name}");
    }
    let missing = package.weights("@model_path/weights/other.bin");
    assert!(matches!(missing, Err(PackageError::Io { path, .. }) if path.ends_with("weights/other.bin")));
}

proptest! {
    #[test]
    fn a_damaged_model_is_read_or_refused_but_never_panics(
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode_model(&several()).expect("valid");
        *position.get_mut(&mut bytes) = byte;
        if let Ok(model) = decode_model(&bytes) {
            let again = encode_model(&model).expect("was read");
            prop_assert_eq!(decode_model(&again).expect("own bytes"), model);
        }
        bytes.truncate(length.index(bytes.len()));
        let _ = decode_model(&bytes);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_model(&bytes);
    }
}
