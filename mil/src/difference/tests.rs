use super::*;
use crate::blob::{BlobLayout, BlobWriter};
use crate::compiled::{CompileOptions, compile};
use crate::package::{FilesInMemory, FlexibleInputs, ModelDescription};
use crate::text;
use crate::{DataType, WEIGHT_FILE};

const OPERATIONS: &str = r#"
            tensor<fp16, [2]> w = const()[name = string("w"), val = tensor<fp16, [2]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64)))];
            tensor<fp16, [2]> a = add(x = x, y = w)[name = string("a")];
            tensor<fp16, [2]> y = mul(x = a, y = fp16(0x1p+0))[name = string("y")];"#;

/// A model of these operations, whose weight file holds these bytes.
fn stored(operations: &str, weights: &[[u8; 4]]) -> StoredModel<FilesInMemory> {
    let text = format!("program(1.3)\n{{ func main<ios18>(tensor<fp16, [2]> x) {{ {operations} }} -> (y); }}");
    let program = text::parse(&text).unwrap_or_else(|error| panic!("{error}")).program;
    let function = &program.functions["main"];
    let description = FunctionDescription::of("main", function, &FlexibleInputs::new()).expect("describable");
    let model = Model { specification_version: 9, description: ModelDescription::single(description), program };
    let compiled = compile(&model, &CompileOptions::package("m", &[])).unwrap_or_else(|error| panic!("{error:?}"));
    let mut layout = BlobLayout::default();
    for _ in weights {
        layout.push(DataType::Float16, 2).expect("small");
    }
    let mut file = Vec::new();
    let mut writer = BlobWriter::new(&mut file, &layout).expect("a vector takes everything");
    for weight in weights {
        writer.begin(DataType::Float16, 2).expect("as planned");
        writer.write(weight).expect("as planned");
    }
    writer.finish().expect("complete");
    let mut files = compiled.in_memory();
    files.insert(WEIGHT_FILE.trim_start_matches("@model_path/").to_owned(), file);
    StoredModel::open(files).expect("valid")
}

fn differences(left: &StoredModel<FilesInMemory>, right: &StoredModel<FilesInMemory>) -> Vec<String> {
    compare(left, right, 10).expect("readable").iter().map(ToString::to_string).collect()
}

const WEIGHT: [u8; 4] = [0, 0x3c, 0, 0x40];

#[test]
fn names_and_places_of_weights_are_no_differences() {
    let one = stored(OPERATIONS, &[WEIGHT]);
    let moved = OPERATIONS.replace("uint64(64)", "uint64(192)").replace(" a = add", " b = add").replace("= a,", "= b,");
    let other = stored(&moved, &[[1; 4], WEIGHT]);
    assert_eq!(differences(&one, &other), [""; 0]);
}

#[test]
fn a_weight_in_place_is_equal_to_one_in_a_file() {
    let blob = r#"BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64))"#;
    let (one, other) = (stored(OPERATIONS, &[WEIGHT]), stored(&OPERATIONS.replace(blob, "[0x1p+0, 0x1p+1]"), &[]));
    assert_eq!(differences(&one, &other), [""; 0]);
    assert_eq!(differences(&other, &one), [""; 0]);
    let third = stored(&OPERATIONS.replace(blob, "[0x1p+0, 0x1p+2]"), &[]);
    assert_eq!(differences(&one, &third).len(), 1);
}

#[test]
fn another_weight_another_constant_and_another_op_are_named() {
    let one = stored(OPERATIONS, &[WEIGHT]);
    let found = differences(&one, &stored(OPERATIONS, &[[0; 4]]));
    let weight = "a tensor<fp16, [2]> at 64 of `@model_path/weights/weight.bin`";
    assert_eq!(found, [format!("main / a = add / y: {weight} | {weight}, other values")]);
    let found = differences(&one, &stored(&OPERATIONS.replace("fp16(0x1p+0)", "fp16(-0x1p+0)"), &[WEIGHT]));
    assert_eq!(found, ["main / y = mul / y: [1.0] | [-1.0]"]);
    let found = differences(&one, &stored(&OPERATIONS.replace("add(", "sub("), &[WEIGHT]));
    assert_eq!(found, ["main / op 0: `add` | `sub`"]);
}

#[test]
fn operands_are_traced_to_their_sources() {
    let one = stored(OPERATIONS, &[WEIGHT]);
    let found = differences(&one, &stored(&OPERATIONS.replace("mul(x = a", "mul(x = x"), &[WEIGHT]));
    assert_eq!(found, ["main / y = mul / x: the result of op 0 | the parameter `x`"]);
}

#[test]
fn no_more_differences_are_found_than_asked_for() {
    let one = stored(OPERATIONS, &[WEIGHT]);
    let other = stored(&OPERATIONS.replace("fp16(0x1p+0)", "fp16(0x1p+1)"), &[[0; 4]]);
    assert_eq!(compare(&one, &other, 10).expect("readable").len(), 2);
    assert_eq!(compare(&one, &other, 1).expect("readable").len(), 1);
}
