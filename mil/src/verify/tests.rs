use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::builder::FunctionBuilder;
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::program::{Argument, Function, NamedValueType, Operation};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, TensorData, Value, ValueData};

fn fp16(shape: &[u64]) -> TensorType {
    TensorType::fixed(DataType::Float16, shape)
}

fn state(shape: &[u64]) -> ValueType {
    ValueType::State(fp16(shape))
}

fn operation(op: &str, inputs: &[(&str, &str)], outputs: &[(&str, TensorType)]) -> Operation {
    let name = outputs.first().map_or("op", |output| output.0);
    Operation {
        op: op.to_owned(),
        inputs: inputs.iter().map(|(parameter, name)| ((*parameter).to_owned(), Argument::name(*name))).collect(),
        outputs: outputs.iter().map(|(name, ty)| NamedValueType::new(*name, ty.clone())).collect(),
        attributes: BTreeMap::from([("name".to_owned(), Value::string(name))]),
        blocks: Vec::new(),
    }
}

fn constant(name: &str, value: Value) -> Operation {
    let mut operation = operation("const", &[], &[]);
    operation.outputs.push(NamedValueType::new(name, value.ty.clone()));
    operation.attributes.insert("val".to_owned(), value);
    operation
}

/// `x -> relu -> y`.
fn relu() -> Function {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let x = builder.input("x", fp16(&[1, 8]));
    let y = builder.relu("y", &x).expect("valid");
    builder.finish(&[&y])
}

/// A state that takes what is added to it.
fn stateful() -> Function {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let x = builder.input("x", fp16(&[1, 8]));
    let cache = builder.input("cache", state(&[1, 8]));
    let old = builder.read_state("old", &cache).expect("valid");
    let sum = builder.add("sum", &old, &x).expect("valid");
    let new = builder.update_state("new", &cache, &sum).expect("valid");
    let y = builder.relu("y", &new).expect("valid");
    builder.finish(&[&y])
}

fn program(functions: impl IntoIterator<Item = (&'static str, Function)>) -> Program {
    let functions = functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
    Program { functions, attributes: BTreeMap::new() }
}

fn errors_of(function: Function) -> Vec<String> {
    let report = report(&program([("main", function)]));
    report.errors.iter().map(ToString::to_string).collect()
}

fn warnings_of(function: Function) -> Vec<String> {
    let report = report(&program([("main", function)]));
    report.warnings.iter().map(ToString::to_string).collect()
}

/// The errors of [`relu`] after a change.
fn errors_after(change: impl FnOnce(&mut Function)) -> Vec<String> {
    let mut function = relu();
    change(&mut function);
    errors_of(function)
}

/// The errors of [`relu`] with one more operation before the end, nothing of which is returned.
fn errors_with(operation: Operation) -> Vec<String> {
    errors_after(|function| function.block.operations.push(operation))
}

#[test]
fn valid_programs_are_accepted() {
    assert_eq!(verify(&program([("main", relu())])), Ok(()));
    assert_eq!(report(&program([("infer", stateful()), ("prefill", stateful())])), Report::default());
}

#[test]
fn a_program_needs_a_function() {
    assert_eq!(verify(&program([])).expect_err("empty").to_string(), "program: there is no function");
}

#[test]
fn all_errors_are_reported_in_program_order() {
    let errors = errors_after(|function| {
        function.inputs.push(NamedValueType::new("unused", fp16(&[1])));
        function.block.operations.push(operation("relu", &[("x", "missing")], &[("z", fp16(&[1]))]));
        function.block.operations.push(operation("nonsense", &[], &[("tensor", fp16(&[1]))]));
        function.block.outputs.push("nothing".to_owned());
    });
    assert_eq!(
        errors,
        [
            "main / unused: the parameter is not used",
            "main / z = relu: `missing` is not defined",
            "main / tensor = nonsense: `tensor` is a word of the language and cannot be a name",
            "main / tensor = nonsense: `nonsense` is not a known op",
            "main / nothing: the result `nothing` is not defined",
        ]
    );
}

#[test]
fn names_must_be_identifiers_and_not_reserved() {
    for (name, good) in
        [("a", true), ("_1", true), ("a.b", false), ("1a", false), ("", false), ("state", false), ("ä", false)]
    {
        let errors = errors_after(|function| {
            function.block.operations[0].outputs[0].name = name.to_owned();
            function.block.outputs = vec![name.to_owned()];
        });
        assert_eq!(errors.is_empty(), good, "{name}: {errors:?}");
    }
    assert_eq!(errors_of(relu()).len(), 0);
    assert_eq!(report(&program([("func", relu())])).errors.len(), 1);
}

#[test]
fn an_at_sign_in_a_name_is_a_warning() {
    let mut function = relu();
    function.block.operations[0].outputs[0].name = "y@1".to_owned();
    function.block.outputs = vec!["y@1".to_owned()];
    assert_eq!(errors_of(function.clone()), [""; 0]);
    assert_eq!(warnings_of(function).len(), 1);
}

#[test]
fn a_value_is_defined_once_and_before_its_use() {
    let again = operation("relu", &[("x", "x")], &[("y", fp16(&[1, 8]))]);
    assert_eq!(errors_with(again), ["main / y = relu: `y` is defined twice"]);
    let itself = operation("relu", &[("x", "z")], &[("z", fp16(&[1, 8]))]);
    assert_eq!(errors_with(itself), ["main / z = relu: `z` is used before its definition"]);
    let errors = errors_after(|function| function.inputs.push(function.inputs[0].clone()));
    assert_eq!(errors, ["main / x: `x` is defined twice"]);
}

#[test]
fn a_misspelled_op_is_named_with_the_op_that_is_near() {
    let errors = report(&program([("main", {
        let mut function = relu();
        function.block.operations[0].op = "rellu".to_owned();
        function
    })]))
    .errors;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].message, "`rellu` is not a known op");
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `relu`?"));
}

#[test]
fn declared_types_are_exactly_the_inferred_ones() {
    let errors = errors_after(|function| function.block.operations[0].outputs[0].ty = fp16(&[1, 9]).into());
    assert_eq!(
        errors,
        ["main / y = relu: the result is declared as tensor<fp16, [1, 9]>, but it is tensor<fp16, [1, 8]>"]
    );
    let unknown = TensorType { dtype: DataType::Float16, shape: vec![Dimension::Unknown, Dimension::Fixed(8)] };
    let change_both = |function: &mut Function| {
        function.inputs[0].ty = unknown.clone().into();
        function.block.operations[0].outputs[0].ty = unknown.clone().into();
    };
    assert_eq!(errors_after(change_both), [""; 0]);
    assert_eq!(errors_after(|function| function.inputs[0].ty = unknown.clone().into()).len(), 1);
}

#[test]
fn results_are_as_many_as_the_op_has() {
    let extra = NamedValueType::new("z", fp16(&[1, 8]));
    let errors = errors_after(|function| function.block.operations[0].outputs.push(extra));
    assert_eq!(errors, ["main / y = relu: 2 results are declared, `relu` has 1"]);
}

#[test]
fn an_operation_has_the_attribute_name_and_only_declared_others() {
    let mut unnamed = relu();
    unnamed.block.operations[0].attributes.clear();
    let warnings = warnings_of(unnamed);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("main / y = relu: the attribute `name` is missing"));
    let not_text = BTreeMap::from([("name".to_owned(), Value::int32(1))]);
    let errors = errors_after(|function| function.block.operations[0].attributes = not_text);
    assert_eq!(errors, ["main / y = relu: the attribute `name` is not a string"]);
    let mut more = operation("relu", &[("x", "x")], &[("z", fp16(&[1, 8]))]);
    more.attributes.insert("val".to_owned(), Value::int32(1));
    assert!(errors_with(more)[0].ends_with("`relu` has no attribute `val`"));
}

#[test]
fn the_form_of_constexpr_parameters_follows_the_opset() {
    let parameters = [("indices", "uint8"), ("lut", "fp16")];
    let lut = Value::blob(fp16(&[4]), BlobReference { file_name: crate::WEIGHT_FILE.to_owned(), offset: 64 });
    let indices = Value {
        ty: TensorType::fixed(DataType::UInt8, &[1]).into(),
        data: ValueData::Tensor(TensorData::Bytes(vec![0])),
    };
    let shape = Value {
        ty: TensorType::fixed(DataType::UInt32, &[1]).into(),
        data: ValueData::Tensor(TensorData::Bytes(vec![4, 0, 0, 0])),
    };
    let mut attributes = operation("constexpr_lut_to_dense", &[], &[("w", fp16(&[4]))]);
    for (name, value) in [("indices", &indices), ("lut", &lut), ("shape", &shape)] {
        attributes.attributes.insert(name.to_owned(), value.clone());
    }
    let in_opset = |operation: &Operation, opset: Opset| {
        errors_after(|function| {
            function.opset = opset;
            function.block.operations.push(operation.clone());
        })
    };
    assert_eq!(in_opset(&attributes, Opset::Ios16), [""; 0]);
    let mut inputs = attributes.clone();
    for (parameter, _) in parameters {
        let value = inputs.attributes.remove(parameter).expect("set above");
        inputs.inputs.insert(parameter.to_owned(), Argument::value(value));
    }
    let errors = in_opset(&inputs, Opset::Ios16);
    assert!(
        errors[0].ends_with("the parameters of `constexpr_lut_to_dense` are attributes before ios18"),
        "{errors:?}"
    );
    let errors = in_opset(&inputs, Opset::Ios18);
    assert!(errors[0].ends_with("the parameters of `constexpr_lut_to_dense` are split over two forms"), "{errors:?}");
}

#[test]
fn const_takes_no_inputs() {
    let mut operation = constant("c", Value::int32(1));
    operation.inputs.insert("x".to_owned(), Argument::name("x"));
    let errors = errors_with(operation);
    assert!(errors[0].contains("`const` has no inputs"), "{errors:?}");
}

#[test]
fn an_op_must_exist_in_the_opset_of_the_function() {
    let mut function = stateful();
    function.opset = Opset::Ios17;
    let errors = errors_of(function);
    assert_eq!(errors[0], "main / cache: states exist since ios18, the function uses ios17");
    assert_eq!(errors[1], "main / old = read_state: `read_state` exists since ios18, the function uses ios17");
}

#[test]
fn functions_share_one_opset() {
    let mut older = relu();
    older.opset = Opset::Ios17;
    let errors = verify(&program([("a", relu()), ("b", older)])).expect_err("opsets differ");
    assert_eq!(errors.to_string(), "b: the function uses ios17, but `a` uses ios18");
}

#[test]
fn tensors_have_at_most_five_axes() {
    let high = fp16(&[1, 1, 1, 1, 1, 1]);
    let errors = errors_after(|function| {
        function.inputs[0].ty = high.clone().into();
        function.block.operations[0].outputs[0].ty = high.clone().into();
    });
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn constants_of_more_axes_go_to_constexpr_ops_only() {
    let reference = |offset| BlobReference { file_name: crate::WEIGHT_FILE.to_owned(), offset };
    let lut = constant("lut", Value::blob(fp16(&[1, 1, 1, 1, 4, 1]), reference(64)));
    let indices = TensorType::fixed(DataType::UInt2, &[8, 8, 1, 1]);
    let weight = operation(
        "constexpr_lut_to_dense",
        &[("indices", "indices"), ("lut", "lut")],
        &[("weight", fp16(&[8, 8, 1, 1]))],
    );
    let relu = operation("relu", &[("x", "lut")], &[("z", fp16(&[1, 1, 1, 1, 4, 1]))]);
    let with = |last: Operation| {
        errors_after(|function| {
            let indices = constant("indices", Value::blob(indices.clone(), reference(128)));
            function.block.operations.extend([lut.clone(), indices, last]);
        })
    };
    assert_eq!(with(weight), [""; 0]);
    let errors = with(relu);
    assert!(errors.contains(&"main / z = relu: parameter `x` has 6 axes, expected at most 5".to_owned()), "{errors:?}");
}

#[test]
fn data_of_constants_must_be_what_the_type_says() {
    let value = |dtype, shape: &[u64], data| Value {
        ty: TensorType::fixed(dtype, shape).into(),
        data: ValueData::Tensor(data),
    };
    for (value, expected) in [
        (
            value(DataType::Int32, &[2], TensorData::Ints(vec![1])),
            "has 1 elements, its type tensor<int32, [2]> needs 2",
        ),
        (value(DataType::UInt4, &[3], TensorData::Bytes(vec![1])), "has 1 bytes, its type tensor<uint4, [3]> needs 2"),
        (value(DataType::Float16, &[], TensorData::Floats(vec![1.0])), "stored as floats, expected bytes for fp16"),
        (value(DataType::UInt16, &[1], TensorData::Ints(vec![-1])), "the element -1 of the constant is not uint16"),
        (value(DataType::Int8, &[u64::MAX, 2], TensorData::Bytes(vec![])), "has no fixed number of elements"),
        (
            Value { ty: fp16(&[1]).into(), data: ValueData::Tuple(vec![]) },
            "the data of the constant is not of the kind of its type tensor<fp16, [1]>",
        ),
    ] {
        let errors = errors_with(constant("c", value));
        assert!(errors.len() == 1 && errors[0].contains(expected), "{errors:?}");
    }
}

#[test]
fn blobs_lie_aligned_in_a_file_of_the_weight_directory() {
    let errors = |file_name: &str, offset| {
        let reference = BlobReference { file_name: file_name.to_owned(), offset };
        errors_with(constant("c", Value::blob(fp16(&[8]), reference)))
    };
    assert_eq!(errors("@model_path/weights/weight.bin", 64), [""; 0]);
    assert_eq!(errors("@model_path/weights/more/w.bin", 640), [""; 0]);
    for (file_name, offset) in [
        ("@model_path/weights/weight.bin", 65),
        ("@model_path/weights/weight.bin", 0),
        ("@model_path/weights/weight.bin", u64::MAX - 63),
        ("@model_path/weights/../weight.bin", 64),
        ("@model_path/weights/", 64),
        ("@model_path/weight.bin", 64),
        ("/etc/passwd", 64),
    ] {
        assert_eq!(errors(file_name, offset).len(), 1, "{file_name} {offset}");
    }
    let reference = BlobReference { file_name: crate::WEIGHT_FILE.to_owned(), offset: 64 };
    let text = Value::blob(TensorType::fixed(DataType::String, &[1]), reference);
    assert_eq!(errors_with(constant("c", text)).len(), 1);
}

#[test]
fn only_function_parameters_are_states() {
    let mut function = stateful();
    function.block.operations[0].outputs[0].ty = state(&[1, 8]);
    assert!(errors_of(function)[0].contains("only a function parameter can be one"));
}

#[test]
fn only_the_ops_for_states_take_one() {
    let mut function = stateful();
    function.block.operations.push(operation("relu", &[("x", "cache")], &[("z", fp16(&[1, 8]))]));
    assert_eq!(errors_of(function), ["main / z = relu: `relu` cannot take the state `cache`"]);
    let mut function = stateful();
    function.block.operations.push(operation("read_state", &[("input", "x")], &[("z", fp16(&[1, 8]))]));
    assert_eq!(errors_of(function).len(), 1);
}

#[test]
fn states_are_fp16_tensors_of_fixed_shape() {
    for ty in [
        TensorType::fixed(DataType::Float32, &[1, 8]),
        TensorType { dtype: DataType::Float16, shape: vec![Dimension::Unknown] },
    ] {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let cache = builder.input("cache", ValueType::State(ty));
        let old = builder.read_state("old", &cache).expect("valid");
        let y = builder.relu("y", &old).expect("valid");
        let errors = errors_of(builder.finish(&[&y]));
        assert!(errors[0].contains("expected an fp16 tensor of fixed shape"), "{errors:?}");
    }
}

#[test]
fn every_function_declares_every_state_alike() {
    let errors = verify(&program([("a", stateful()), ("b", relu())])).expect_err("a state is missing");
    assert_eq!(errors.to_string(), "b: the state `cache` of function `a` is missing, every function must declare it");
    let mut other = stateful();
    other.inputs[1].ty = state(&[2, 8]);
    let errors = verify(&program([("a", stateful()), ("b", other)])).expect_err("types differ");
    assert_eq!(
        errors.errors[0].to_string(),
        "b / cache: the state is tensor<fp16, [2, 8]>, but tensor<fp16, [1, 8]> in function `a`"
    );
}

#[test]
fn three_states_are_a_warning() {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let mut sum = builder.input("x", fp16(&[1]));
    for name in ["a", "b", "c"] {
        let cache = builder.input(name, state(&[1]));
        let old = builder.read_state("old", &cache).expect("valid");
        sum = builder.add("sum", &sum, &old).expect("valid");
    }
    let function = builder.finish(&[&sum]);
    assert_eq!(errors_of(function.clone()), [""; 0]);
    let expected = "main: the function has 3 states, expected at most 2";
    assert_eq!(warnings_of(function), [expected]);
}

#[test]
fn a_state_must_be_touched_and_a_parameter_used() {
    let errors = errors_after(|function| {
        function.inputs.push(NamedValueType::new("z", fp16(&[1])));
        function.inputs.push(NamedValueType::new("cache", state(&[1])));
    });
    assert_eq!(errors, ["main / z: the parameter is not used", "main / cache: the state is neither read nor written"]);
}

#[test]
fn a_result_is_neither_written_to_a_state_nor_read_from_one() {
    let returned = |name: &str| {
        let mut function = stateful();
        function.block.outputs = vec![name.to_owned()];
        function
    };
    let errors = errors_of(returned("sum"));
    assert_eq!(errors, ["main / sum: the result is also written to a state, which crashes Core ML on load"]);
    for name in ["old", "new"] {
        let errors = errors_of(returned(name));
        assert_eq!(errors, [format!("main / {name}: the result is read from a state and returned as it is")]);
    }
    assert_eq!(errors_of(returned("cache")), ["main / cache: a state cannot be returned"]);
}

#[test]
fn a_result_that_a_written_value_is_computed_from_is_a_warning() {
    let mut builder = FunctionBuilder::new(Opset::Ios18);
    let x = builder.input("x", fp16(&[1, 8]));
    let cache = builder.input("cache", state(&[1, 8]));
    let y = builder.relu("y", &x).expect("valid");
    let sum = builder.add("sum", &y, &x).expect("valid");
    builder.write_state(&cache, &sum).expect("valid");
    let function = builder.finish(&[&y]);
    assert_eq!(errors_of(function.clone()), [""; 0]);
    assert_eq!(warnings_of(function).len(), 1);
}

#[test]
fn results_exist_and_differ() {
    assert_eq!(errors_after(|function| function.block.outputs.clear()), ["main: the function has no results"]);
    let errors = errors_after(|function| function.block.outputs.push("y".to_owned()));
    assert_eq!(errors, ["main / y: `y` is returned twice"]);
}

#[test]
fn a_parameter_that_is_returned_is_a_warning() {
    let mut function = relu();
    function.block.outputs.push("x".to_owned());
    assert_eq!(errors_of(function.clone()), [""; 0]);
    assert_eq!(warnings_of(function), ["main / x: a parameter is returned as it is, which Core ML may not run"]);
}

#[test]
fn parameters_and_results_have_types_that_a_model_can_describe() {
    let errors = errors_after(|function| {
        function.inputs.push(NamedValueType::new("flag", TensorType::fixed(DataType::Bool, &[1])));
        function.block.operations.push(operation("relu", &[("x", "flag")], &[]));
    });
    assert_eq!(errors[0], "main / flag: the parameter is tensor<bool, [1]>, expected elements of fp16, fp32 or int32");
    let errors = errors_after(|function| {
        function.inputs[0].ty = fp16(&[]).into();
        function.block.operations[0].outputs[0].ty = fp16(&[]).into();
    });
    assert_eq!(errors, ["main / x: the parameter is fp16, expected 1 to 5 axes"]);
}

#[test]
fn nested_blocks_are_refused() {
    let errors = errors_after(|function| function.block.operations[0].blocks.push(crate::Block::default()));
    assert_eq!(errors, ["main / y = relu: `relu` takes no nested blocks"]);
}

#[test]
fn program_attributes_other_than_build_info_are_refused() {
    let mut program = program([("main", relu())]);
    program.attributes.insert("buildInfo".to_owned(), Value::int32(1));
    assert_eq!(verify(&program), Ok(()));
    program.attributes.insert("other".to_owned(), Value::int32(1));
    assert!(verify(&program).is_err());
}

#[test]
fn errors_are_marked_in_the_text() {
    let mut function = stateful();
    function.block.operations[1].op = "ad".to_owned();
    function.block.outputs.push("nothing".to_owned());
    let program = program([("main", function)]);
    let marked = verify(&program).expect_err("an op is unknown").annotate(&program);
    insta::assert_snapshot!(marked, @r#"
        func main<ios18>(state<tensor<fp16, [1, 8]>> cache, tensor<fp16, [1, 8]> x) {
                tensor<fp16, [1, 8]> old = read_state(input = cache)[name = string("old")];
                tensor<fp16, [1, 8]> sum = ad(x = old, y = x)[name = string("sum")];
                                     ^~~~~~~~ `ad` is not a known op
                                     hint: did you mean `add`?
                …
                tensor<fp16, [1, 8]> new = read_state(input = cache)[name = string("new")];
                tensor<fp16, [1, 8]> y = relu(x = new)[name = string("y")];
            } -> (y, nothing);
                     ^~~~~~~ the result `nothing` is not defined
    }
    "#);
}

#[test]
fn errors_of_a_program_without_text_are_listed() {
    let mut function = relu();
    let mut name = Value::string("y");
    name.data = crate::ValueData::Tensor(crate::TensorData::Ints(vec![1]));
    function.block.operations[0].attributes.insert("name".to_owned(), name);
    let program = program([("main", function)]);
    let errors = verify(&program).expect_err("a name that is no text");
    let annotated = errors.annotate(&program);
    assert!(annotated.starts_with("main / y = relu: `name`: the elements"), "{annotated}");
}

#[test]
fn many_errors_in_one_line_are_marked_in_linear_time() {
    let mut function = relu();
    for index in 0..20_000 {
        function.inputs.push(NamedValueType::new(format!("x{index}"), fp16(&[1])));
        let parameter = format!("p{index}");
        function.block.operations[0].inputs.insert(parameter, Argument::name("missing"));
    }
    let program = program([("main", function)]);
    let start = Instant::now();
    let errors = verify(&program).expect_err("inputs are not used");
    assert!(errors.annotate(&program).contains("and 19980 more errors in this line"));
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}

fn verified_soon(program: &Program) -> Report {
    let start = Instant::now();
    let report = report(program);
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    report
}

#[test]
fn many_uses_of_one_large_constant_take_linear_time() {
    let shape = Value::int32s(&vec![1; 200_000]);
    let mut function = relu();
    function.block.operations.push(constant("shape", shape));
    for index in 0..20_000 {
        let name = format!("r{index}");
        function.block.operations.push(operation("reshape", &[("x", "x"), ("shape", "shape")], &[(&name, fp16(&[1]))]));
    }
    assert_eq!(verified_soon(&program([("main", function)])).errors.len(), 20_000);
}

#[test]
fn many_uses_of_one_huge_type_or_name_take_linear_time() {
    let mut function = relu();
    let name = "n".repeat(200_000);
    function.inputs.push(NamedValueType::new(&name, fp16(&vec![1; 200_000])));
    function.block.operations.push(operation("relu", &[("x", &name)], &[("first", fp16(&[1]))]));
    for index in 0..20_000 {
        let name = format!("r{index}");
        function.block.operations.push(operation("relu", &[("x", "first")], &[(&name, fp16(&vec![1; 33]))]));
    }
    let report = verified_soon(&program([("main", function)]));
    assert!(report.errors.iter().all(|error| error.to_string().len() < 1000));
}

#[test]
fn a_number_in_the_program_does_not_make_inference_run_away() {
    let mut function = relu();
    function.inputs[0].ty = fp16(&[1, 65_536]).into();
    function.block.operations.push(constant("axis", Value::int32(1)));
    function.block.operations.push(constant("parts", Value::int32(65_536)));
    for index in 0..2_000 {
        let inputs = [("x", "x"), ("axis", "axis"), ("num_splits", "parts")];
        function.block.operations.push(operation("split", &inputs, &[(&format!("s{index}"), fp16(&[1]))]));
    }
    assert!(!verified_soon(&program([("main", function)])).errors.is_empty());
}

#[test]
fn deeply_nested_constants_are_refused() {
    let mut value = Value::int32(1);
    for _ in 0..100 {
        value = Value { ty: ValueType::Tuple(vec![value.ty.clone()]), data: ValueData::Tuple(vec![value]) };
    }
    let errors = errors_with(constant("c", value));
    assert!(errors.iter().any(|error| error.contains("nested too deeply")), "{errors:?}");
}
