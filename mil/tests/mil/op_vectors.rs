//! Evaluates ops on operands whose results coremltools or PyTorch computed (`tests/conformance/op_vectors`).
//!
//! A file of `vectors/` holds the cases of one op. A case has operands by parameter name, and results or a part of the
//! error message. Operands marked `constant` are constants of the program, others are inputs of the function.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anec_mil::blob::BlobError;
use anec_mil::evaluate::{EvaluableFunction, Numerics, State, Tensor, WeightSource};
use anec_mil::ops::{self, special};
use anec_mil::{BlobReference, DataType, FunctionBuilder, Opset, Program, TensorData, TensorType, Value, ValueData};
use half::f16;
use serde_json::Value as Json;

struct NoWeights;

impl WeightSource for NoWeights {
    fn blob(&self, reference: &BlobReference, _: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        panic!("{reference:?} is not in the program")
    }
}

#[test]
fn ops_compute_what_other_implementations_compute() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<_> =
        fs::read_dir(directory).expect("vectors").map(|entry| entry.expect("file").path()).collect();
    files.sort();
    let mut failures = Vec::new();
    for path in files {
        let file: Json = serde_json::from_str(&fs::read_to_string(&path).expect("text")).expect("JSON");
        let op = file["op"].as_str().expect("an op");
        for case in file["cases"].as_array().expect("cases") {
            if let Err(failure) = check(op, case) {
                failures.push(format!("{op}: {}: {failure}", case["name"].as_str().unwrap_or("?")));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_op_has_vectors() {
    let has = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.json")).exists();
    let missing: Vec<_> = ops::OPS.iter().map(|decl| decl.name).filter(|name| !has(name)).collect();
    // A constant has nothing to compute; states, lists, classes and control flow have tests of their own.
    assert_eq!(
        missing,
        [
            "classify",
            "cond",
            "const",
            "list_gather",
            "list_length",
            "list_read",
            "list_scatter",
            "list_write",
            "make_list",
            "read_state",
            "while_loop",
            "write_state"
        ]
    );
}

fn check(op: &str, case: &Json) -> Result<(), String> {
    match (run(op, case), case["error"].as_str()) {
        (Ok(results), None) => {
            let expected = case["results"].as_array().expect("results");
            if results.len() != expected.len() {
                return Err(format!("{} results, expected {}", results.len(), expected.len()));
            }
            let tolerance = case["tolerance"].as_f64().unwrap_or(0.0);
            results.iter().zip(expected).try_for_each(|(found, expected)| compare(found, expected, tolerance))
        }
        (Err(error), Some(expected)) => {
            let message = chain(&*error);
            if message.contains(expected) { Ok(()) } else { Err(format!("expected `{expected}`, got `{message}`")) }
        }
        (Ok(_), Some(expected)) => Err(format!("expected the error `{expected}`")),
        (Err(error), None) => Err(chain(&*error)),
    }
}

fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        message = format!("{message}: {error}");
        source = error.source();
    }
    message
}

fn run(op: &str, case: &Json) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let decl = ops::find(op).expect("a known op");
    let opset = case["opset"].as_str().map_or(Opset::Ios18, |name| Opset::from_text_name(name).expect("a known opset"));
    let mut builder = FunctionBuilder::new(opset);
    let mut inputs = BTreeMap::new();
    let mut variables = Vec::new();
    let mut constants = Vec::new();
    for (parameter, operand) in case["operands"].as_object().expect("operands") {
        let several = operand.as_array().cloned().unwrap_or_else(|| vec![operand.clone()]);
        let is_constant = |operand: &Json| operand["constant"].as_bool() == Some(true);
        if several.len() == 1 && is_constant(&several[0]) {
            constants.push((parameter, value(&several[0])));
            continue;
        }
        let mut vars = Vec::new();
        for (index, operand) in several.iter().enumerate() {
            let (name, value) = (format!("{parameter}_{index}"), value(operand));
            if is_constant(operand) {
                vars.push(builder.constant(&name, value));
                continue;
            }
            vars.push(builder.input(&name, value.ty.clone()));
            inputs.insert(name, Tensor::from_value(&value)?);
        }
        variables.push((parameter, vars));
    }
    let mut call = builder.call(decl, "result");
    for (parameter, vars) in &variables {
        call = call.operands(parameter, &vars.iter().collect::<Vec<_>>());
    }
    for (parameter, value) in constants {
        let in_place = op.starts_with(special::CONSTEXPR_PREFIX);
        call = if in_place { call.inline(parameter, value) } else { call.constant(parameter, value) };
    }
    let results = call.finish()?;
    let names: Vec<String> = results.iter().map(|result| result.name.clone()).collect();
    let mut program = Program::default();
    program.functions.insert("main".to_owned(), builder.finish(&results.iter().collect::<Vec<_>>()));
    let function = EvaluableFunction::new(&program, "main", &NoWeights, Numerics::F32)?;
    let mut outputs = function.run(&inputs, &mut State::default(), None)?;
    Ok(names.iter().map(|name| outputs.remove(name).expect("declared")).collect())
}

fn numbers(data: &Json) -> Vec<f64> {
    let number = |element: &Json| match element {
        Json::String(text) => text.parse().expect("inf, -inf or nan"),
        Json::Bool(value) => f64::from(u8::from(*value)),
        other => other.as_f64().expect("a number"),
    };
    data.as_array().expect("data").iter().map(number).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "data of tests are in range")]
fn value(operand: &Json) -> Value {
    let dtype = DataType::from_text_name(operand["dtype"].as_str().expect("dtype")).expect("an element type");
    let shape: Vec<u64> =
        operand["shape"].as_array().expect("shape").iter().map(|size| size.as_u64().expect("a size")).collect();
    let data = &operand["data"];
    let data = match dtype {
        DataType::String => TensorData::Strings(
            data.as_array().expect("data").iter().map(|s| s.as_str().expect("text").into()).collect(),
        ),
        DataType::Bool => TensorData::Bools(numbers(data).iter().map(|value| *value != 0.0).collect()),
        DataType::Float32 => TensorData::Floats(numbers(data).iter().map(|value| *value as f32).collect()),
        DataType::Float16 => {
            TensorData::Bytes(numbers(data).iter().flat_map(|value| f16::from_f64(*value).to_le_bytes()).collect())
        }
        DataType::Int32 | DataType::Int16 | DataType::UInt16 => {
            TensorData::Ints(numbers(data).iter().map(|value| *value as i32).collect())
        }
        _ => TensorData::Bytes(packed(&numbers(data), dtype.bits() as usize)),
    };
    Value { ty: TensorType::fixed(dtype, &shape).into(), data: ValueData::Tensor(data) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "data of tests are in range")]
fn packed(values: &[f64], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; (values.len() * bits).div_ceil(8)];
    for (index, value) in values.iter().enumerate() {
        let value = *value as i64 as u64;
        for bit in 0..bits {
            let place = index * bits + bit;
            bytes[place / 8] |= u8::from(value >> bit & 1 == 1) << (place % 8);
        }
    }
    bytes
}

#[expect(clippy::cast_possible_truncation, reason = "expected floats are written as fp32")]
fn compare(found: &Tensor, expected: &Json, tolerance: f64) -> Result<(), String> {
    let wanted = value(expected);
    let ty = wanted.tensor_type().expect("a tensor");
    if found.ty() != *ty {
        return Err(format!("{}, expected {ty}", found.ty()));
    }
    let elements: Vec<f64> = if ty.dtype.is_float() {
        found.as_floats().map_err(|error| error.to_string())?.iter().map(|value| f64::from(*value)).collect()
    } else if ty.dtype == DataType::Bool {
        found.as_bools().map_err(|error| error.to_string())?.iter().map(|value| f64::from(u8::from(*value))).collect()
    } else {
        found.as_integers().map_err(|error| error.to_string())?.iter().map(|value| f64::from(*value)).collect()
    };
    for (index, (found, expected)) in elements.iter().zip(numbers(&expected["data"])).enumerate() {
        let expected = if ty.dtype.is_float() { f64::from(expected as f32) } else { expected };
        let same = found == &expected || (found.is_nan() && expected.is_nan());
        if !same
            && (found - expected)
                .abs()
                .partial_cmp(&(tolerance * (1.0 + expected.abs())))
                .is_none_or(std::cmp::Ordering::is_gt)
        {
            return Err(format!("element {index} is {found}, expected {expected}"));
        }
    }
    Ok(())
}
