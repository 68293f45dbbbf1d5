//! Programs with nested blocks, lists and classes: each is verified, read back from both of its forms, and run.

use std::collections::BTreeMap;
use std::sync::Arc;

use anec_mil::blob::BlobError;
use anec_mil::evaluate::{EvaluableFunction, EvaluateError, Numerics, State, Tensor, WeightSource};
use anec_mil::{BlobReference, DataType, Program, TensorType, proto, text, verify};

struct NoWeights;

impl WeightSource for NoWeights {
    fn blob(&self, reference: &BlobReference, _: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        panic!("{reference:?} is not in the program")
    }
}

/// A program of one function of ios17.
fn program(inputs: &str, operations: &str, results: &str) -> Program {
    let text = format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{}})]\n{{\n    func main<ios17>({inputs}) {{\n{operations}        }} -> ({results});\n}}"
    );
    let program = text::parse(&text).unwrap_or_else(|error| panic!("{error}")).program;
    assert_eq!(text::print(&program, text::TextVersion::V1_3).expect("printable"), text);
    assert_eq!(proto::decode(proto::encode(&program)).expect("decodable"), program);
    program
}

fn verified(program: &Program) -> EvaluableFunction {
    verify::verify(program).unwrap_or_else(|errors| panic!("{}", errors.annotate(program)));
    EvaluableFunction::new(program, "main", &NoWeights, Numerics::F32).expect("evaluable")
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::floats(DataType::Float32, &[values.len()], values.to_vec()).expect("a vector")
}

fn run(function: &EvaluableFunction, inputs: &[(&str, Tensor)]) -> Result<BTreeMap<String, Tensor>, EvaluateError> {
    let inputs = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    function.run(&inputs, &mut State::default(), None)
}

const DOUBLED_UNTIL_LARGE: &str = r#"            int32 zero = const()[name = string("zero"), val = int32(0)];
            fp32 limit = const()[name = string("limit"), val = fp32(0x1.9p+6)];
            int32 turns, tensor<fp32, [2]> y = while_loop(loop_vars = (zero, x))[name = string("loop")]
                (int32 turn, tensor<fp32, [2]> value) {
                    tensor<int32, [1]> axes = const()[name = string("axes"), val = tensor<int32, [1]>([0])];
                    bool keep = const()[name = string("keep"), val = bool(false)];
                    fp32 sum = reduce_sum(axes = axes, keep_dims = keep, x = value)[name = string("sum")];
                    bool small = less(x = sum, y = limit)[name = string("small")];
                } -> (small)
                (int32 turn, tensor<fp32, [2]> value) {
                    int32 one = const()[name = string("one"), val = int32(1)];
                    int32 next = add(x = turn, y = one)[name = string("next")];
                    tensor<fp32, [2]> twice = add(x = value, y = value)[name = string("twice")];
                } -> (next, twice);
            tensor<int32, [1]> turned = const()[name = string("turned"), val = tensor<int32, [1]>([0])];
            tensor<int32, [1]> count = expand_dims(axes = turned, x = turns)[name = string("count")];
"#;

#[test]
fn a_loop_runs_as_long_as_its_condition_holds() {
    let program = program("tensor<fp32, [2]> x", DOUBLED_UNTIL_LARGE, "y, count");
    let results = run(&verified(&program), &[("x", floats(&[1.0, 2.0]))]).expect("runs");
    assert_eq!(&*results["y"].as_floats().expect("floats"), [64.0, 128.0]);
    assert_eq!(&*results["count"].as_integers().expect("integers"), [6]);
    let results = run(&verified(&program), &[("x", floats(&[99.0, 2.0]))]).expect("runs");
    assert_eq!(&*results["count"].as_integers().expect("integers"), [0]);
}

#[test]
fn a_loop_that_does_not_end_is_stopped() {
    let program = program("tensor<fp32, [2]> x", DOUBLED_UNTIL_LARGE, "y, count");
    let function = verified(&program).with_iteration_limit(1000);
    let error = run(&function, &[("x", floats(&[0.0, 0.0]))]).expect_err("never ends");
    let source = std::error::Error::source(&error).expect("the loop").to_string();
    assert_eq!(source, "loops made more than 1000 iterations");
}

#[test]
fn a_tensor_cannot_grow_without_end_in_a_loop() {
    let operations = r#"            bool on = const()[name = string("on"), val = bool(true)];
            tensor<fp32, [?]> y = while_loop(loop_vars = x)[name = string("y")]
                (tensor<fp32, [?]> value) {
                } -> (on)
                (tensor<fp32, [?]> value) {
                    int32 axis = const()[name = string("axis"), val = int32(0)];
                    bool woven = const()[name = string("woven"), val = bool(false)];
                    tensor<fp32, [?]> longer = concat(axis = axis, interleave = woven, values = (value, value))[name = string("longer")];
                } -> (longer);
"#;
    let program = program("tensor<fp32, [?]> x", operations, "y");
    let error = run(&verified(&program), &[("x", floats(&vec![1.0; 1 << 20]))]).expect_err("too large");
    let mut source: &dyn std::error::Error = &error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    assert!(source.to_string().contains("is too large"), "{source}");
}

#[test]
fn a_condition_chooses_a_block_that_sees_what_is_around() {
    let operations = r#"            tensor<int32, [1]> axes = const()[name = string("axes"), val = tensor<int32, [1]>([0])];
            bool keep = const()[name = string("keep"), val = bool(false)];
            fp32 sum = reduce_sum(axes = axes, keep_dims = keep, x = x)[name = string("sum")];
            fp32 zero = const()[name = string("zero"), val = fp32(0x0p+0)];
            bool positive = greater(x = sum, y = zero)[name = string("positive")];
            tensor<fp32, [2]> y = cond(pred = positive)[name = string("y")]
                () {
                    tensor<fp32, [2]> twice = add(x = x, y = x)[name = string("twice")];
                } -> (twice)
                () {
                    tensor<fp32, [2]> shifted = add(x = x, y = sum)[name = string("shifted")];
                } -> (shifted);
"#;
    let program = program("tensor<fp32, [2]> x", operations, "y");
    let function = verified(&program);
    let positive = run(&function, &[("x", floats(&[3.0, -1.0]))]).expect("runs");
    assert_eq!(&*positive["y"].as_floats().expect("floats"), [6.0, -2.0]);
    let negative = run(&function, &[("x", floats(&[-3.0, 1.0]))]).expect("runs");
    assert_eq!(&*negative["y"].as_floats().expect("floats"), [-5.0, -1.0]);
}

#[test]
fn errors_of_a_nested_block_are_shown_at_its_operation() {
    let wrong = DOUBLED_UNTIL_LARGE.replace("x = turn, y = one", "x = turn, y = two");
    let wrong = program("tensor<fp32, [2]> x", &wrong, "y, count");
    let errors = verify::verify(&wrong).expect_err("`two` is not defined");
    assert_eq!(errors.to_string(), "main / next = add: `two` is not defined");
    let outside = DOUBLED_UNTIL_LARGE.replace("x = turns)", "x = next)");
    let outside = program("tensor<fp32, [2]> x", &outside, "y, count");
    let errors = verify::verify(&outside).expect_err("`next` is a value of the block");
    assert!(errors.to_string().contains("`next` is not defined"), "{errors}");
    let few = DOUBLED_UNTIL_LARGE.replace("-> (next, twice)", "-> (twice)");
    let few = program("tensor<fp32, [2]> x", &few, "y, count");
    let errors = verify::verify(&few).expect_err("a result too few");
    assert!(errors.to_string().contains("1 results of the second block, expected 2"), "{errors}");
}

#[test]
fn a_list_is_written_and_read() {
    let operations = r#"            int32 length = const()[name = string("length"), val = int32(1)];
            bool grows = const()[name = string("grows"), val = bool(true)];
            string dtype = const()[name = string("dtype"), val = string("fp32")];
            int32 two = const()[name = string("two"), val = int32(2)];
            list<tensor<fp32, [2]>, ?> empty = make_list(dtype = dtype, dynamic_length = grows, elem_shape = two, init_length = length)[name = string("empty")];
            list<tensor<fp32, [2]>, ?> longer = list_write(index = two, ls = empty, value = x)[name = string("longer")];
            int32 found = list_length(ls = longer)[name = string("found")];
            tensor<fp32, [2]> last = list_read(index = two, ls = longer)[name = string("last")];
            tensor<int32, [2]> places = const()[name = string("places"), val = tensor<int32, [2]>([0, 1])];
            tensor<fp32, [2, 2]> pair = const()[name = string("pair"), val = tensor<fp32, [2, 2]>([[0x1p+0, 0x1p+1], [0x1.8p+1, 0x1p+2]])];
            list<tensor<fp32, [2]>, ?> full = list_scatter(indices = places, ls = longer, value = pair)[name = string("full")];
            tensor<int32, [3]> all = const()[name = string("all"), val = tensor<int32, [3]>([2, 0, 1])];
            tensor<fp32, [3, 2]> joined = list_gather(indices = all, ls = full)[name = string("joined")];
            tensor<int32, [1]> axes = const()[name = string("axes"), val = tensor<int32, [1]>([0])];
            tensor<int32, [1]> count = expand_dims(axes = axes, x = found)[name = string("count")];
"#;
    let program = program("tensor<fp32, [2]> x", operations, "last, joined, count");
    let results = run(&verified(&program), &[("x", floats(&[8.0, 9.0]))]).expect("runs");
    assert_eq!(&*results["last"].as_floats().expect("floats"), [8.0, 9.0]);
    assert_eq!(&*results["joined"].as_floats().expect("floats"), [8.0, 9.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(&*results["count"].as_integers().expect("integers"), [3]);
}

#[test]
fn the_class_of_the_largest_probability_is_found() {
    let operations = r#"            list<string, 3> classes = const()[name = string("classes"), val = list<string, 3>(["cat", "dog", "owl"])];
            string label, dict<string, fp64> probabilities = classify(classes = classes, probabilities = x)[name = string("label")];
"#;
    let program = program("tensor<fp32, [3]> x", operations, "label, probabilities");
    let results = run(&verified(&program), &[("x", floats(&[0.25, 0.5, 0.25]))]).expect("runs");
    assert_eq!(results["label"].as_str().expect("a string"), "dog");
    assert_eq!(&*results["probabilities"].as_floats().expect("floats"), [0.25, 0.5, 0.25]);
}
