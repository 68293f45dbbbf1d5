use super::*;
use crate::dtype::DataType;
use crate::program::Program;
use crate::types::TensorType;
use crate::value::{TensorData, Value, ValueData};

/// Every construct of the newer form: states, several functions, palettes, subnormals, strings, tuples, inline values.
const NEW: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"producer", "by hand"}, {"version", "1"}})]
{
    func infer<ios18>(tensor<int32, [1]> current_pos, state<tensor<fp16, [2, 1, 4, 2]>> kv, tensor<fp16, [1, 1, 1, 2]> x) {
            tensor<fp16, [2, 1, 4, 2]> before = read_state(input = kv)[name = string("before")];
            int32 axis = const()[name = string("axis"), val = int32(0)];
            bool interleave = const()[name = string("interleave"), val = bool(false)];
            tensor<int32, [1]> zero = const()[name = string("zero"), val = tensor<int32, [1]>([0])];
            tensor<int32, [3]> begin = concat(axis = axis, interleave = interleave, values = (zero, zero, current_pos))[name = string("begin")];
            tensor<fp16, [4, 2, 1, 1]> w = constexpr_lut_to_dense(indices = tensor<uint3, [4, 2, 1, 1]>([[[[0]], [[7]]], [[[1]], [[2]]], [[[3]], [[4]]], [[[5]], [[6]]]]), lut = tensor<fp16, [1, 1, 1, 1, 8, 1]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64))))[name = string("w")];
            tensor<fp16, [5]> odd = const()[name = string("odd"), val = tensor<fp16, [5]>([0x1p-24, -0x0p+0, 0x1.ff8p-15, inf, -inf])];
            tensor<int4, [3]> nibbles = const()[name = string("nibbles"), val = tensor<int4, [3]>([-8, 7, -1])];
            tensor<uint64, [1]> long = const()[name = string("long"), val = tensor<uint64, [1]>([18446744073709551615])];
            tensor<fp32, [1]> y = add(x = tensor<fp32, [1]>([0x1.8p+1]), y = tensor<fp32, [1]>([-0x1p+0]))[name = string("y")];
            tensor<fp16, [1, 1, 1, 1]> a, tensor<fp16, [1, 1, 1, 1]> b = split(axis = axis, x = x)[name = string("split")];
            write_state(data = before, input = kv)[name = string("kv_write_state")];
        } -> (begin, y);
    func prefill<ios18>(tensor<fp16, [1, ?]> x) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"x", [1, 4]}}), ("RangeDims", {{"x", [[1, 1], [0, 4]]}})))] {
            tensor<fp16, [1, ?]> y = relu(x = x)[name = string("y")];
        } -> (y);
}"#;

/// The older form: scalars are tensors without axes, and `constexpr` parameters are attributes.
const OLD: &str = r#"program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"producer", "by hand"}})]
{
    func main<ios16>(tensor<fp32, [1, 4]> x) {
            tensor<string, []> dtype = const()[name = tensor<string, []>("dtype"), val = tensor<string, []>("fp16")];
            tensor<fp16, [1, 4]> w = constexpr_lut_to_dense()[indices = tensor<uint8, [1]>([228]), lut = tensor<fp16, [4]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64))), name = tensor<string, []>("w"), shape = tensor<uint32, [2]>([1, 4])];
            tensor<fp16, [1, 4]> y = cast(dtype = dtype, x = x)[name = tensor<string, []>("y")];
        } -> (y);
}"#;

#[test]
fn text_survives_the_round_trip_to_the_byte() {
    for text in [NEW, OLD] {
        let parsed = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(print(&parsed.program, parsed.version).expect("printable"), text);
    }
}

#[test]
fn packed_elements_are_stored_as_the_format_packs_them() {
    let parsed = parse(NEW).expect("valid");
    let operations = &parsed.program.functions["infer"].block.operations;
    let nibbles = operations.iter().find(|operation| operation.outputs.iter().any(|output| output.name == "nibbles"));
    let value = &nibbles.expect("there").attributes["val"];
    assert_eq!(value.data, ValueData::Tensor(TensorData::Bytes(vec![0x78, 0x0f])));
}

#[test]
fn layout_is_free_when_reading() {
    let squeezed = OLD.replace('\n', " ").replace("  ", " ");
    assert_eq!(parse(&squeezed), parse(OLD));
}

#[test]
fn every_truncation_is_an_error_with_a_place() {
    for text in [NEW, OLD] {
        for length in 0..text.len() {
            let error = parse(&text[..length]).expect_err("cut off");
            assert!(error.line >= 1 && error.column >= 1);
        }
    }
}

#[test]
fn wrong_text_says_what_was_expected_where() {
    for (from, to, expected) in [
        ("program(1.3)", "program(2.0)", "version 1.0 or 1.3"),
        ("<ios18>", "<ios99>", "ios15, ios16"),
        ("int32(0)", "int32(3000000000)", "in its range"),
        ("tensor<int4, [3]>([-8, 7, -1])", "tensor<int4, [3]>([-9, 7, -1])", "in its range"),
        ("tensor<int4, [3]>([-8, 7, -1])", "tensor<int4, [3]>([-8, 7])", "3 elements"),
        ("int32 axis", "int33 axis", "`(`"),
        ("values = (zero, zero, current_pos)", "values = zero, zero", "`=`"),
        ("} -> (begin, y);", "} -> ();", "the name of a result"),
    ] {
        let text = NEW.replacen(from, to, 1);
        assert_ne!(text, NEW, "{from}");
        let error = parse(&text).expect_err(to);
        assert!(error.to_string().contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_string_too_many_is_not_printed() {
    let mut parsed = parse(OLD).expect("valid");
    let function = parsed.program.functions.get_mut("main").expect("there");
    let value = function.block.operations[0].attributes.get_mut("val").expect("there");
    value.data = ValueData::Tensor(TensorData::Strings(vec!["fp16".to_owned(), "fp32".to_owned()]));
    assert!(print(&parsed.program, parsed.version).is_err());
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let deep = format!("program(1.3)[a = {}", "tuple<".repeat(100_000));
    assert!(parse(&deep).is_err());
}

#[test]
fn many_axes_are_an_error_and_not_a_crash() {
    let axes = vec!["1"; 100_000].join(", ");
    let text = format!("program(1.3)[a = tensor<int32, [{axes}]>({}", "[".repeat(100_000));
    assert!(parse(&text).is_err_and(|error| error.expected.contains("axes")));
}

#[test]
fn a_large_type_is_not_repeated_for_every_empty_element() {
    let ty = format!("tuple<{}>", vec!["int32"; 10_000].join(", "));
    let text = format!("program(1.3)[a = list<list<{ty}, ?>, ?>([{}])]{{}}", vec!["[]"; 10_000].join(", "));
    assert!(parse(&text).is_err_and(|error| error.expected.contains("simpler type")));
}

#[test]
fn brackets_around_nothing_do_not_fill_the_memory() {
    for shape in [vec![1 << 62, 0], vec![1; 100_000]] {
        let bytes = vec![0; usize::from(!shape.contains(&0))];
        let ty = TensorType::fixed(DataType::Int8, &shape);
        let value = Value { ty: ty.into(), data: ValueData::Tensor(TensorData::Bytes(bytes)) };
        let program = Program { attributes: [("a".to_owned(), value)].into(), ..Program::default() };
        assert!(print(&program, TextVersion::V1_3).is_err());
    }
}

/// Set `ANEC_SAMPLES` to a directory of compiled models to check that each one's text survives and that every op has
/// the results that are declared; names of ops, which hand-written models leave out, are not required. A newline at the end,
/// which the compiler does not write but editors add, is left out of the comparison.
#[test]
fn sample_programs_survive_the_round_trip() {
    let Ok(root) = std::env::var("ANEC_SAMPLES") else { return };
    let mut pending = vec![std::path::PathBuf::from(root)];
    let mut count = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.file_name().is_some_and(|name| name == "model.mil") {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            let parsed = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let printed = print(&parsed.program, parsed.version).expect("printable");
            assert!(printed == text.strip_suffix('\n').unwrap_or(&text), "{}", path.display());
            let errors = crate::verify::report(&parsed.program).errors;
            let errors: Vec<_> = errors.iter().filter(|error| !error.message.contains("`name`")).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "no model.mil found");
}
