//! What the commands do with ML Programs of anybody: images, classifiers, states, broken files and other kinds of models.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anec_mil::blob::{BlobLayout, BlobWriter};
use anec_mil::package::{
    Classifier, ColorSpace, FeatureDescription, FeatureType, FlexibleInputs, FunctionDescription, Image, ImageSize,
    KeyType, MANIFEST_PATH, MODEL_PATH, Model, ModelDescription, WEIGHTS_PATH, encode_model,
};
use anec_mil::{
    BlobReference, DataType, Function, FunctionBuilder, Opset, Program, TensorType, Value, ValueType, WEIGHT_FILE,
};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn anec(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anec")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Models and what becomes of them.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs a command on names in the room; those begin with `@`.
    fn run(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| match argument.split_once('@') {
                Some((before, name)) => format!("{before}{}", self.text(name)),
                None => (*argument).to_owned(),
            })
            .collect();
        anec(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fails(&self, arguments: &[&str], words: &[&str]) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        let said = text(&output.stdout) + &text(&output.stderr);
        for words in words {
            assert!(said.contains(words), "{arguments:?}: expected {words:?} in:\n{said}");
        }
    }

    fn package(&self, name: &str, model: &Model) {
        let root = self.path(name);
        fs::create_dir_all(root.join(WEIGHTS_PATH).parent().unwrap()).unwrap();
        fs::write(root.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json()).unwrap();
        fs::write(root.join(MODEL_PATH), encode_model(model).unwrap()).unwrap();
        fs::write(root.join(WEIGHTS_PATH), weight_file()).unwrap();
    }

    /// Writes one row of red, green and blue.
    fn picture(&self, name: &str, width: u32, pixels: &[u8]) {
        let mut encoder = png::Encoder::new(fs::File::create(self.path(name)).unwrap(), width, 1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    }

    fn pixels(&self, name: &str) -> Vec<u8> {
        let file = std::io::BufReader::new(fs::File::open(self.path(name)).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }

    fn json(&self, name: &str, value: &Json) {
        fs::write(self.path(name), value.to_string()).unwrap();
    }

    fn read_json(&self, name: &str) -> Json {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

/// Four halves: 1, 2, 3 and 4.
fn weight_file() -> Vec<u8> {
    let mut layout = BlobLayout::default();
    layout.push(DataType::Float16, 4).unwrap();
    let mut writer = BlobWriter::new(Vec::new(), &layout).unwrap();
    writer.begin(DataType::Float16, 4).unwrap();
    let halves = [1.0, 2.0, 3.0, 4.0].map(|value| half::f16::from_f32(value).to_le_bytes());
    writer.write(&halves.concat()).unwrap();
    writer.finish().unwrap()
}

fn model(version: i32, description: FunctionDescription, function: Function) -> Model {
    let program = Program { functions: [("main".to_owned(), function)].into(), attributes: BTreeMap::new() };
    Model { specification_version: version, description: ModelDescription::single(description), program }
}

/// `y = relu(x + weight)` of four numbers.
fn adds() -> Model {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let four = TensorType::fixed(DataType::Float16, &[1, 4]);
    let x = builder.input("x", four.clone());
    let reference = BlobReference { file_name: WEIGHT_FILE.to_owned(), offset: 64 };
    let weight = builder.constant("weight", Value::blob(four, reference));
    let sum = builder.add("sum", &x, &weight).unwrap();
    let y = builder.relu("y", &sum).unwrap();
    let function = builder.finish(&[&y]);
    model(9, FunctionDescription::of("main", &function, &FlexibleInputs::new()).unwrap(), function)
}

/// `y = relu(image)` of two pixels.
fn of_image(color_space: ColorSpace) -> Model {
    let mut builder = FunctionBuilder::new(Opset::Ios16);
    let pixels = TensorType::fixed(DataType::Float32, &[1, color_space.channels(), 1, 2]);
    let input = builder.input("image", pixels);
    let y = builder.relu("y", &input).unwrap();
    let function = builder.finish(&[&y]);
    let image = Image { size: ImageSize { width: 2, height: 1 }, color_space, flexibility: None };
    let description = FunctionDescription {
        name: "main".to_owned(),
        inputs: vec![FeatureDescription::new("image", FeatureType::Image(image.clone()))],
        outputs: vec![FeatureDescription::new("y", FeatureType::Image(image))],
        ..FunctionDescription::default()
    };
    model(7, description, function)
}

/// A state that every call adds `x` to.
fn accumulates() -> Model {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let two = TensorType::fixed(DataType::Float16, &[1, 2]);
    let x = builder.input("x", two.clone());
    let state = builder.input("total", ValueType::State(two));
    let before = builder.read_state("before", &state).unwrap();
    let sum = builder.add("sum", &before, &x).unwrap();
    let after = builder.update_state("after", &state, &sum).unwrap();
    let function = builder.finish(&[&after]);
    model(9, FunctionDescription::of("main", &function, &FlexibleInputs::new()).unwrap(), function)
}

#[test]
fn a_prediction_is_what_the_program_computes_in_every_format() {
    let room = Room::new();
    room.package("m.mlpackage", &adds());
    room.json("x.json", &json!([[1, -9.5, 0, 2]]));
    let said = room.succeeds(&["predict", "@m.mlpackage", "--input", "x=@x.json", "-o", "@out", "--format", "json"]);
    assert_eq!(said, "y: tensor<fp16, [1, 4]> = [2.0, 0.0, 3.0, 6.0]\n");
    assert_eq!(room.read_json("out/y.json"), json!([[2.0, 0.0, 3.0, 6.0]]));

    room.succeeds(&["predict", "@m.mlpackage", "--input", "x=@x.json", "-o", "@out"]);
    room.fails(&["predict", "@m.mlpackage", "--input", "x=@x.json", "-o", "@out"], &["y.npy`: it exists", "--force"]);
    // What was written is read, in a compiled model as in a package.
    room.succeeds(&["compile", "@m.mlpackage"]);
    let again = room.succeeds(&["predict", "@m.mlmodelc", "--input", "x=@out/y.npy"]);
    assert_eq!(again, "y: tensor<fp16, [1, 4]> = [3.0, 2.0, 6.0, 10.0]\n");
}

#[test]
fn inputs_that_do_not_fit_say_what_is_expected() {
    let room = Room::new();
    room.package("m.mlpackage", &adds());
    room.json("short.json", &json!([[1, 2]]));
    room.json("text.json", &json!([["a", "b", "c", "d"]]));
    for (input, words) in [
        (&["--input", "x=@short.json"][..], &["it has shape [1, 2], expected an array of fp16 [1, 4]"][..]),
        (&["--input", "x=@text.json"], &["it holds text, expected numbers"]),
        (&["--input", "z=@short.json"], &["`main` has no input `z`, expected `x`"]),
        (&["--input", "x=@missing.npy"], &["missing.npy` as the input `x`"]),
        (&["--input", "x=@short.txt"], &[".npy, .json"]),
        (&[], &["needs the inputs `x` (tensor<fp16, [1, 4]>)", "--input NAME=FILE"]),
    ] {
        room.fails(&[&["predict", "@m.mlpackage"], input].concat(), words);
    }
}

#[test]
fn states_are_kept_between_calls_and_each_call_takes_its_own_file() {
    let room = Room::new();
    room.package("m.mlpackage", &accumulates());
    room.json("a.json", &json!([[1, 2]]));
    room.json("b.json", &json!([[10, 20]]));
    let inputs = ["--input", "x=@a.json", "--input", "x=@b.json"];
    let arguments = [&["predict", "@m.mlpackage", "--repeat", "3", "-o", "@out", "--format", "json"], &inputs[..]];
    room.succeeds(&arguments.concat());
    for (call, expected) in [("1", json!([[1.0, 2.0]])), ("2", json!([[11.0, 22.0]])), ("3", json!([[21.0, 42.0]]))] {
        assert_eq!(room.read_json(&format!("out/{call}/after.json")), expected, "call {call}");
    }
}

#[test]
fn a_trace_holds_every_value_and_a_comparison_finds_the_first_op_that_parts() {
    let room = Room::new();
    room.package("a.mlpackage", &adds());
    room.package("b.mlpackage", &adds());
    room.json("x.json", &json!([[1, 1, 1, 1]]));
    let common = ["predict", "@a.mlpackage", "--input", "x=@x.json"];
    room.succeeds(&[&common[..], &["-o", "@out", "--format", "json", "--trace"]].concat());
    let mut names: Vec<String> = fs::read_dir(room.path("out/trace"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["00001_sum.json", "00002_y.json"]);
    assert_eq!(room.read_json("out/trace/00001_sum.json"), json!([[2.0, 3.0, 4.0, 5.0]]));

    let same = room.succeeds(&[&common[..], &["--compare", "@b.mlpackage"]].concat());
    assert!(same.contains("The models agree within 0.001 in 2 values"), "{same}");
    let weights = room.path("b.mlpackage").join(WEIGHTS_PATH);
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40;
    fs::write(&weights, bytes).unwrap();
    room.fails(&[&common[..], &["--compare", "@b.mlpackage"]].concat(), &["The models part at `sum` of `add`"]);
}

#[test]
fn pictures_go_in_and_come_out() {
    let room = Room::new();
    let pixels = [10, 20, 30, 40, 50, 60];
    room.picture("two.png", 2, &pixels);
    for (name, color_space) in [("rgb", ColorSpace::Rgb), ("bgr", ColorSpace::Bgr)] {
        let package = format!("@{name}.mlpackage");
        room.package(&package[1..], &of_image(color_space));
        let out = format!("@{name}");
        room.succeeds(&["predict", &package, "--input", "image=@two.png", "-o", &out]);
        assert_eq!(room.pixels(&format!("{name}/y.png")), pixels, "{name}");
    }
    let said = room.succeeds(&["inspect", "@rgb.mlpackage"]);
    assert!(said.contains("image: tensor<fp32, [1, 3, 1, 2]>, a RGB image of 2 × 1"), "{said}");
    room.succeeds(&["lint", "@rgb.mlpackage"]);
    room.succeeds(&["compile", "@rgb.mlpackage"]);
    room.picture("three.png", 3, &[0; 9]);
    let wrong = ["predict", "@rgb.mlpackage", "--input", "image=@three.png"];
    room.fails(&wrong, &["it has 3 × 1 pixels, expected 2 × 1", "scale or crop"]);
}

#[test]
fn a_classifier_is_inspected_and_linted_and_compiled_on_request() {
    let room = Room::new();
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let x = builder.input("x", TensorType::fixed(DataType::Float32, &[1, 4]));
    let y = builder.relu("y", &x).unwrap();
    let function = builder.finish(&[&y]);
    let description = FunctionDescription::of("main", &function, &FlexibleInputs::new()).unwrap();
    let mut classifier = model(9, description, function);
    let function = classifier.program.functions.get_mut("main").unwrap();
    let label = |text: &str| Value::string(text);
    let classes = Value {
        ty: ValueType::List(Box::new(ValueType::string()), anec_mil::Dimension::Fixed(4)),
        data: anec_mil::ValueData::List(["a", "b", "c", "d"].map(label).to_vec()),
    };
    let text = ValueType::string();
    let numbers = ValueType::Tensor(TensorType::scalar(DataType::Float64));
    function.block.operations.push(anec_mil::Operation {
        op: "classify".to_owned(),
        inputs: [
            ("classes".to_owned(), anec_mil::Argument::value(classes)),
            ("probabilities".to_owned(), anec_mil::Argument::name("y")),
        ]
        .into(),
        outputs: vec![
            anec_mil::NamedValueType::new("label", text.clone()),
            anec_mil::NamedValueType::new("scores", ValueType::Dictionary(Box::new(text), Box::new(numbers))),
        ],
        attributes: [("name".to_owned(), Value::string("classify"))].into(),
        blocks: Vec::new(),
    });
    function.block.outputs = vec!["label".to_owned(), "scores".to_owned()];
    let description = &mut classifier.description.functions[0];
    description.outputs = vec![
        FeatureDescription::new("label", FeatureType::String),
        FeatureDescription::new("scores", FeatureType::Dictionary(KeyType::String)),
    ];
    description.classifier =
        Some(Classifier { predicted_feature: "label".to_owned(), predicted_probabilities: "scores".to_owned() });
    room.package("c.mlpackage", &classifier);
    let said = text_of(&room.run(&["inspect", "@c.mlpackage"]));
    assert!(said.contains("label: string, a string"), "{said}");
    assert!(said.contains("numbers by string"), "{said}");
    room.fails(&["compile", "@c.mlpackage"], &["No compiled model was seen with the classifier `main`", "--unproven"]);
    let compiled = room.run(&["compile", "@c.mlpackage", "--unproven"]);
    assert!(compiled.status.success(), "{}", text_of(&compiled));
    assert!(text_of(&compiled).contains("warning: no compiled model was seen with the classifier `main`"));
    assert_eq!(room.read_json("c.mlmodelc/metadata.json")[0]["classLabels"], json!(["a", "b", "c", "d"]));

    fs::write(room.path("x.json"), "[[0.5, -1, 0.75, 0.25]]").unwrap();
    let predicted = room.run(&["predict", "@c.mlmodelc", "--input", "x=@x.json", "-o", "@results"]);
    let said = text_of(&predicted);
    assert!(said.contains("label: string = \"c\"\n"), "{said}");
    assert!(said.contains("scores: c 0.7500, a 0.5000, d 0.2500, b 0.0000\n"), "{said}");
    assert_eq!(room.read_json("results/label.json"), json!(["c"]));
    assert_eq!(room.read_json("results/scores.json"), json!({"a": 0.5, "b": 0.0, "c": 0.75, "d": 0.25}));
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_package_of_a_compiled_model_is_the_package_that_it_was_made_from() {
    let room = Room::new();
    room.package("m.mlpackage", &adds());
    room.succeeds(&["compile", "@m.mlpackage"]);
    room.succeeds(&["package", "@m.mlmodelc", "-o", "@again.mlpackage"]);
    for path in [WEIGHTS_PATH, MODEL_PATH] {
        let read = |name: &str| fs::read(room.path(name).join(path)).unwrap();
        assert_eq!(read("again.mlpackage"), read("m.mlpackage"), "{path}");
    }
    room.succeeds(&["diff", "@m.mlpackage", "@again.mlpackage"]);
    room.succeeds(&["compile", "@again.mlpackage", "-o", "@twice.mlmodelc"]);
    for path in ["model.mil", "coremldata.bin", "analytics/coremldata.bin", "weights/weight.bin"] {
        let read = |name: &str| fs::read(room.path(name).join(path)).unwrap();
        assert_eq!(read("twice.mlmodelc"), read("m.mlmodelc"), "{path}");
    }
    room.fails(&["package", "@m.mlpackage"], &["it is one already"]);
    room.fails(&["package", "@m.mlmodelc"], &["it exists", "--force"]);
    room.succeeds(&["package", "@m.mlmodelc", "--force"]);
    fs::write(room.path("m.mlpackage").join("mine.txt"), "mine").unwrap();
    room.fails(&["package", "@m.mlmodelc", "--force"], &["anec did not write"]);
}

#[test]
fn weights_that_are_not_there_fail_a_lint() {
    let room = Room::new();
    let weights = |name: &str| room.path(name).join(WEIGHTS_PATH);
    for name in ["missing.mlpackage", "cut.mlpackage", "pointer.mlpackage", "beyond.mlpackage"] {
        room.package(name, &adds());
    }
    fs::remove_file(weights("missing.mlpackage")).unwrap();
    let whole = weight_file();
    fs::write(weights("cut.mlpackage"), &whole[..whole.len() - 2]).unwrap();
    fs::write(weights("pointer.mlpackage"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let mut beyond = adds();
    let function = beyond.program.functions.get_mut("main").unwrap();
    let reference = BlobReference { file_name: WEIGHT_FILE.to_owned(), offset: 640 };
    let value = Value::blob(TensorType::fixed(DataType::Float16, &[1, 4]), reference);
    function.block.operations[0].attributes.insert("val".to_owned(), value);
    fs::write(room.path("beyond.mlpackage").join(MODEL_PATH), encode_model(&beyond).unwrap()).unwrap();
    for (name, words) in [
        ("@missing.mlpackage", "cannot be read"),
        ("@cut.mlpackage", "there is no such blob at 64"),
        ("@pointer.mlpackage", "a Git LFS pointer: run `git lfs pull`"),
        ("@beyond.mlpackage", "there is no such blob at 640"),
    ] {
        room.fails(&["lint", name], &["error[weight-data]", words]);
    }
}

#[test]
fn files_that_are_no_programs_are_named_with_what_to_do() {
    let room = Room::new();
    fs::write(room.path("network.mlmodel"), [0x08, 4, 0xa2, 0x1f, 0]).unwrap();
    fs::write(room.path("classifiers.mlmodel"), [0x08, 4, 0xc2, 0x0c, 0]).unwrap();
    fs::write(room.path("pointer.mlmodel"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n").unwrap();
    fs::write(room.path("m.mlpackage.zip"), b"PK\x03\x04rest").unwrap();
    for command in ["inspect", "compile", "lint"] {
        for (name, words) in [
            ("@network.mlmodel", &["a `neuralNetwork`, expected an `mlProgram`", "convert_to=\"mlprogram\""][..]),
            (
                "@classifiers.mlmodel",
                &["a `pipelineClassifier`, expected an `mlProgram`", "take those that are ML Programs out"],
            ),
            ("@pointer.mlmodel", &["is a Git LFS pointer", "git lfs pull"]),
            ("@m.mlpackage.zip", &["is a zip archive", "unpack it"]),
        ] {
            room.fails(&[command, name], words);
        }
    }
    assert!(Path::new(&room.text("network.mlmodel")).is_file());
}

/// A field of a message that holds bytes.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let varint = |mut value: usize| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    };
    [varint((number as usize) << 3 | 2), varint(content.len()), content.to_vec()].concat()
}

/// A message of a kind that is not read, with a specification version and an empty description.
fn other_kind(number: u32) -> Vec<u8> {
    [vec![0x08, 5], field(2, &[]), field(number, b"\x0a\x02\x08\x01")].concat()
}

impl Room {
    /// A package of a pipeline of these messages, with the weight file of the others here.
    fn pipeline(&self, name: &str, members: &[Vec<u8>]) {
        self.package(name, &adds());
        let content: Vec<u8> = members.iter().flat_map(|member| field(1, member)).collect();
        let message = [vec![0x08, 5], field(2, &[]), field(202, &content)].concat();
        fs::write(self.path(name).join(MODEL_PATH), message).unwrap();
    }
}

#[test]
fn a_pipeline_is_compiled_member_by_member_and_each_member_is_a_model() {
    let room = Room::new();
    let boxes = other_kind(610);
    room.package("adds.mlpackage", &adds());
    room.pipeline("p.mlpackage", &[encode_model(&adds()).unwrap(), boxes.clone()]);
    room.succeeds(&["compile", "@p.mlpackage", "-o", "@p.mlmodelc"]);
    room.succeeds(&["compile", "@adds.mlpackage", "-o", "@adds.mlmodelc"]);
    let same = |path: &str, member: &str| {
        let read = |path: &str| fs::read(room.path(path)).unwrap();
        assert_eq!(read(&format!("p.mlmodelc/{member}/{path}")), read(&format!("adds.mlmodelc/{path}")), "{path}");
    };
    for path in ["model.mil", "coremldata.bin", "weights/weight.bin"] {
        same(path, "model0");
    }
    assert!(fs::read(room.path("p.mlmodelc/model1/coremldata.bin")).unwrap().ends_with(&boxes));
    assert!(!room.path("p.mlmodelc/model0/metadata.json").exists());
    let metadata = room.read_json("p.mlmodelc/metadata.json");
    let structure = &metadata[0]["modelType"]["structure"];
    assert_eq!(structure[0]["name"], "MLModelType_mlProgram");
    assert_eq!(structure[1]["name"], "MLModelType_nonMaximumSuppression");
    assert_eq!(metadata[0]["mlProgramOperationTypeHistogram"], json!({ "Ios18.add": 1, "Ios18.relu": 1 }));

    room.json("x.json", &json!([[1, -9, 1, 1]]));
    for name in ["p.mlpackage", "p.mlmodelc"] {
        let said = room.succeeds(&["inspect", &format!("@{name}")]);
        assert!(said.contains("model0: mlProgram\n  model1: nonMaximumSuppression"), "{said}");
        assert!(said.contains("1 add"), "{said}");
        room.succeeds(&["lint", &format!("@{name}")]);
        let member = format!("@{name}/model0");
        room.succeeds(&["lint", &member]);
        room.succeeds(&["diff", &member, "@adds.mlpackage"]);
        let said = room.succeeds(&["predict", &member, "--input", "x=@x.json"]);
        assert!(said.contains("[2.0, 0.0, 4.0, 5.0]"), "{said}");
        room.fails(&["predict", &format!("@{name}"), "--input", "x=@x.json"], &["a `pipeline`", "name one of them"]);
        room.fails(&["inspect", &format!("@{name}/model1")], &["nonMaximumSuppression"]);
    }
    room.fails(&["inspect", "@p.mlpackage/model2"], &["There is no member 2 in a pipeline of 2"]);

    room.succeeds(&["package", "@p.mlmodelc", "-o", "@again.mlpackage"]);
    fs::create_dir(room.path("again")).unwrap();
    fs::rename(room.path("again.mlpackage"), room.path("again/p.mlpackage")).unwrap();
    room.succeeds(&["compile", "@again/p.mlpackage", "-o", "@again.mlmodelc"]);
    for path in
        ["coremldata.bin", "metadata.json", "model0/model.mil", "model0/weights/weight.bin", "model1/coremldata.bin"]
    {
        let read = |model: &str| fs::read(room.path(model).join(path)).unwrap();
        assert_eq!(read("again.mlmodelc"), read("p.mlmodelc"), "{path}");
    }
}

#[test]
fn a_pipeline_with_a_member_of_another_kind_is_refused_with_what_to_do() {
    let room = Room::new();
    room.pipeline("p.mlpackage", &[encode_model(&adds()).unwrap(), other_kind(500)]);
    room.fails(
        &["compile", "@p.mlpackage"],
        &["A member of the pipeline is a `neuralNetwork`", "`Model.mlpackage/model0`", "coremlcompiler"],
    );
    let said = room.succeeds(&["inspect", "@p.mlpackage"]);
    assert!(said.contains("model1: neuralNetwork"), "{said}");
    room.succeeds(&["compile", "@p.mlpackage/model0", "-o", "@alone.mlmodelc"]);
    assert!(room.path("alone.mlmodelc/weights/weight.bin").is_file());
}

#[test]
fn ops_are_described_by_name_and_as_data() {
    let said = text(&anec(&["ops", "topk"]).stdout);
    assert!(said.contains("topk (since ios15)") && said.contains("changed with ios16"), "{said}");
    let listed: Json = serde_json::from_slice(&anec(&["ops", "--json"]).stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 168);
    assert_eq!(anec(&["ops", "nothing"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn links_of_a_hubs_cache_are_followed_and_others_are_named() {
    let room = Room::new();
    room.package("adds.mlpackage", &adds());
    let snapshot = room.path("models--acme--adds/snapshots/0123abc/adds.mlpackage");
    let blobs = room.path("models--acme--adds/blobs");
    fs::create_dir_all(&blobs).unwrap();
    for (number, path) in [MANIFEST_PATH, MODEL_PATH, WEIGHTS_PATH].into_iter().enumerate() {
        let blob = blobs.join(number.to_string());
        fs::copy(room.path("adds.mlpackage").join(path), &blob).unwrap();
        fs::create_dir_all(snapshot.join(path).parent().unwrap()).unwrap();
        let up = "../".repeat(3 + path.matches('/').count());
        std::os::unix::fs::symlink(format!("{up}blobs/{number}"), snapshot.join(path)).unwrap();
    }
    let name = format!("@models--acme--adds/snapshots/0123abc/{}", "adds.mlpackage");
    room.succeeds(&["inspect", &name]);
    room.succeeds(&["lint", &name]);
    room.succeeds(&["compile", &name, "-o", "@adds.mlmodelc"]);
    assert!(!fs::symlink_metadata(room.path("adds.mlmodelc/weights/weight.bin")).unwrap().is_symlink());
    fs::remove_file(snapshot.join(WEIGHTS_PATH)).unwrap();
    std::os::unix::fs::symlink(room.path("adds.mlpackage").join(WEIGHTS_PATH), snapshot.join(WEIGHTS_PATH)).unwrap();
    room.fails(&["inspect", &name], &["weights/weight.bin leads out of"]);
    fs::remove_file(snapshot.join(MANIFEST_PATH)).unwrap();
    fs::write(snapshot.join(MANIFEST_PATH), "../../../blobs/0").unwrap();
    room.fails(&["inspect", &name], &["`Manifest.json` of the model is the text of a symbolic link", "cp -rL"]);
}
