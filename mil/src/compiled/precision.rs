//! Which element types a function computes with and its weights are stored in, as `metadata.json` lists them.

use std::collections::{BTreeMap, BTreeSet};

use crate::dtype::DataType;
use crate::ops::special;
use crate::program::{Binding, Function, Operation};
use crate::types::ValueType;
use crate::value::Value;

/// The name of an element type, such as `Float16`.
pub(super) fn name(dtype: DataType) -> String {
    let text = dtype.text_name();
    let (prefix, long) = [("bf", "BFloat"), ("fp", "Float"), ("uint", "UInt"), ("int", "Int")]
        .into_iter()
        .find(|(prefix, _)| text.starts_with(prefix))
        .unwrap_or(("", ""));
    format!("{long}{}", text.get(prefix.len()..).unwrap_or_default())
}

/// Element types of everything that functions compute, constants included. Operands in place do not count.
pub(super) fn computed(functions: &[&Function]) -> String {
    summary(functions.iter().flat_map(|function| computed_by(function)).collect()).unwrap_or_default()
}

fn computed_by(function: &Function) -> BTreeSet<String> {
    let used: BTreeSet<&str> = function.block.operations.iter().flat_map(Operation::referenced_names).collect();
    let inputs = function.inputs.iter().filter(|input| used.contains(input.name.as_str()));
    let results = function.block.operations.iter().flat_map(|operation| &operation.outputs);
    let names = inputs.chain(results).filter_map(|value| match &value.ty {
        ValueType::Tensor(tensor) | ValueType::State(tensor) => Some(tensor.dtype),
        _ => None,
    });
    names.filter(|dtype| !matches!(dtype, DataType::Bool | DataType::String)).map(name).collect()
}

/// How the weights of functions are stored, if they have any.
pub(super) fn stored(functions: &[&Function]) -> Option<String> {
    summary(functions.iter().flat_map(|function| stored_by(function)).collect())
}

fn stored_by(function: &Function) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let mut constants: BTreeMap<&str, &Value> = BTreeMap::new();
    for operation in &function.block.operations {
        if let (special::CONST, Some(value), Some(output)) =
            (operation.op.as_str(), operation.attributes.get("val"), operation.outputs.first())
        {
            constants.insert(&output.name, value);
            if value.as_blob().is_some() {
                kinds.extend(value.tensor_type().map(|ty| name(ty.dtype)));
            }
        } else if special::yields_constant(&operation.op) {
            add_compressed(operation, &constants, &mut kinds);
        }
    }
    kinds
}

/// Tells compressions apart by their operands.
fn add_compressed(operation: &Operation, constants: &BTreeMap<&str, &Value>, kinds: &mut BTreeSet<String>) {
    let operand = |parameter: &str| {
        let bound = operation.inputs.get(parameter).and_then(|argument| argument.single());
        let value = match bound {
            Some(Binding::Value(value)) => Some(value),
            Some(Binding::Name(name)) => constants.get(name.as_str()).copied(),
            None => operation.attributes.get(parameter),
        };
        value.and_then(Value::tensor_type)
    };
    if let Some(lut) = operand("lut") {
        // Not the width of an index where there are several tables: what the compiler writes is this.
        let elements = lut.element_count().unwrap_or(1).max(1);
        let bits = elements.next_power_of_two().trailing_zeros();
        kinds.insert(name(lut.dtype));
        kinds.insert(format!("Palettized ({bits} bits)"));
        kinds.extend(operand("indices").filter(|indices| indices.dtype.bits() < 8).map(|ty| name(ty.dtype)));
    }
    if let Some(nonzero) = operand("nonzero_data") {
        kinds.insert("Sparse".to_owned());
        kinds.insert(name(nonzero.dtype));
    }
    kinds.extend(operand("quantized_data").or_else(|| operand("data")).map(|ty| name(ty.dtype)));
}

/// One name, or several as a mixture.
fn summary(names: BTreeSet<String>) -> Option<String> {
    let names: Vec<String> = names.into_iter().collect();
    match names.as_slice() {
        [] => None,
        [single] => Some(single.clone()),
        several => Some(format!("Mixed ({})", several.join(", "))),
    }
}
