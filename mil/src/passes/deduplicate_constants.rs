//! Merges `const` operations of equal type and value into the first of them.
//!
//! Values are equal where their bits are: `-0.0` differs from `0.0`, and a not-a-number equals itself. A constant in a
//! weight file equals another at the same place. A constant that the function returns keeps its name.
//!
//! Before:
//! ```text
//! int32 a = const()[name = string("a"), val = int32(1)];
//! int32 b = const()[name = string("b"), val = int32(1)];
//! tensor<int32, [2]> y = add(x = x, y = a)[name = string("y")];
//! tensor<int32, [2]> z = add(x = y, y = b)[name = string("z")];
//! ```
//! After:
//! ```text
//! int32 a = const()[name = string("a"), val = int32(1)];
//! tensor<int32, [2]> y = add(x = x, y = a)[name = string("y")];
//! tensor<int32, [2]> z = add(x = y, y = a)[name = string("z")];
//! ```

use std::collections::{BTreeSet, HashMap};

use super::Changed;
use crate::ops::special;
use crate::program::{Binding, Block, Function, Operation};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{TensorData, Value, ValueData};

/// Constants that nest deeper are left alone.
const MAX_DEPTH: usize = 16;

/// Runs the pass.
pub fn run(function: &mut Function) -> Changed {
    let returned: BTreeSet<&str> = function.block.outputs.iter().map(String::as_str).collect();
    let mut first: HashMap<Vec<u8>, &str> = HashMap::new();
    let mut replacements: HashMap<String, String> = HashMap::new();
    for operation in &function.block.operations {
        let Some((name, key)) = constant(operation) else { continue };
        let kept = *first.entry(key).or_insert(name);
        if kept != name && !returned.contains(name) {
            replacements.insert(name.to_owned(), kept.to_owned());
        }
    }
    if replacements.is_empty() {
        return Changed(0);
    }
    let before = function.block.operations.len();
    function.block.operations.retain(|operation| {
        let removed = constant_name(operation).is_some_and(|name| replacements.contains_key(name));
        !removed
    });
    rename(&mut function.block, &replacements);
    Changed(before - function.block.operations.len())
}

/// The name of the only result of a `const` operation.
fn constant_name(operation: &Operation) -> Option<&str> {
    match operation.outputs.as_slice() {
        [output] if operation.op == special::CONST => Some(&output.name),
        _ => None,
    }
}

/// Name and canonical bytes of a `const` operation that is nothing but its value.
fn constant(operation: &Operation) -> Option<(&str, Vec<u8>)> {
    let name = constant_name(operation)?;
    let value = operation.attributes.get("val")?;
    let plain = operation.inputs.is_empty() && operation.blocks.is_empty() && operation.attributes.len() <= 2;
    let typed = operation.outputs.first().is_some_and(|output| output.ty == value.ty);
    if !plain || !typed {
        return None;
    }
    let mut bytes = Vec::new();
    put_value(&mut bytes, value, 0)?;
    Some((name, bytes))
}

/// Puts new names for old ones in every operation of `block` and of the blocks in it.
fn rename(block: &mut Block, replacements: &HashMap<String, String>) {
    let mut blocks = vec![block];
    let mut outermost = true;
    while let Some(block) = blocks.pop() {
        // The results of the function itself are its interface; none of them is replaced.
        if !std::mem::take(&mut outermost) {
            for output in &mut block.outputs {
                replace(output, replacements);
            }
        }
        for operation in &mut block.operations {
            for binding in operation.inputs.values_mut().flat_map(|argument| &mut argument.0) {
                if let Binding::Name(name) = binding {
                    replace(name, replacements);
                }
            }
            blocks.extend(&mut operation.blocks);
        }
    }
}

fn replace(name: &mut String, replacements: &HashMap<String, String>) {
    if let Some(replacement) = replacements.get(name.as_str()) {
        name.clone_from(replacement);
    }
}

/// Appends bytes that two values share exactly where they are equal; `None` where the value nests too deeply.
fn put_value(bytes: &mut Vec<u8>, value: &Value, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    put_type(bytes, &value.ty, 0)?;
    match &value.data {
        ValueData::Tensor(data) => {
            bytes.push(0);
            put_elements(bytes, data);
        }
        ValueData::Tuple(elements) => {
            bytes.push(1);
            put_length(bytes, elements.len());
            elements.iter().try_for_each(|element| put_value(bytes, element, depth + 1))?;
        }
        ValueData::List(elements) => {
            bytes.push(2);
            put_length(bytes, elements.len());
            elements.iter().try_for_each(|element| put_value(bytes, element, depth + 1))?;
        }
        ValueData::Dictionary(entries) => {
            bytes.push(3);
            put_length(bytes, entries.len());
            for (key, value) in entries {
                put_value(bytes, key, depth + 1)?;
                put_value(bytes, value, depth + 1)?;
            }
        }
        ValueData::Blob(reference) => {
            bytes.push(4);
            put_text(bytes, &reference.file_name);
            bytes.extend(reference.offset.to_le_bytes());
        }
    }
    Some(())
}

fn put_type(bytes: &mut Vec<u8>, ty: &ValueType, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match ty {
        ValueType::Tensor(tensor) => {
            bytes.push(0);
            put_tensor_type(bytes, tensor);
        }
        ValueType::State(tensor) => {
            bytes.push(1);
            put_tensor_type(bytes, tensor);
        }
        ValueType::List(element, length) => {
            bytes.push(2);
            put_dimension(bytes, *length);
            put_type(bytes, element, depth + 1)?;
        }
        ValueType::Tuple(elements) => {
            bytes.push(3);
            put_length(bytes, elements.len());
            elements.iter().try_for_each(|element| put_type(bytes, element, depth + 1))?;
        }
        ValueType::Dictionary(key, value) => {
            bytes.push(4);
            put_type(bytes, key, depth + 1)?;
            put_type(bytes, value, depth + 1)?;
        }
    }
    Some(())
}

fn put_tensor_type(bytes: &mut Vec<u8>, tensor: &TensorType) {
    bytes.extend(tensor.dtype.proto_number().to_le_bytes());
    put_length(bytes, tensor.shape.len());
    for dimension in &tensor.shape {
        put_dimension(bytes, *dimension);
    }
}

fn put_dimension(bytes: &mut Vec<u8>, dimension: Dimension) {
    match dimension {
        Dimension::Fixed(size) => {
            bytes.push(0);
            bytes.extend(size.to_le_bytes());
        }
        Dimension::Unknown => bytes.push(1),
    }
}

fn put_elements(bytes: &mut Vec<u8>, data: &TensorData) {
    match data {
        TensorData::Floats(elements) => put_each(bytes, 0, elements, |element| element.to_bits().to_le_bytes()),
        TensorData::Ints(elements) => put_each(bytes, 1, elements, |element| element.to_le_bytes()),
        TensorData::Bools(elements) => put_each(bytes, 2, elements, |element| [u8::from(*element)]),
        TensorData::Strings(elements) => {
            bytes.push(3);
            put_length(bytes, elements.len());
            for element in elements {
                put_text(bytes, element);
            }
        }
        TensorData::LongInts(elements) => put_each(bytes, 4, elements, |element| element.to_le_bytes()),
        TensorData::Doubles(elements) => put_each(bytes, 5, elements, |element| element.to_bits().to_le_bytes()),
        TensorData::Bytes(elements) => put_each(bytes, 6, elements, |element| [*element]),
    }
}

fn put_each<T, const N: usize>(bytes: &mut Vec<u8>, tag: u8, elements: &[T], to_bytes: impl Fn(&T) -> [u8; N]) {
    bytes.push(tag);
    put_length(bytes, elements.len());
    bytes.extend(elements.iter().flat_map(to_bytes));
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend((length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{FunctionBuilder, Var};
    use crate::dtype::DataType;
    use crate::opset::Opset;
    use crate::value::BlobReference;

    /// Whether the second of two constants is merged into the first.
    fn merged(a: Value, b: Value) -> bool {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        builder.constant("a", a);
        let b = builder.constant("b", b);
        let y = builder.identity("y", &b).expect("valid");
        let mut function = builder.finish(&[&y]);
        let changed = run(&mut function);
        let used = function.block.operations.last().and_then(|last| last.referenced_names().next());
        assert_eq!(used, Some(if changed.0 == 1 { "a" } else { "b" }));
        changed.0 == 1
    }

    #[test]
    fn equal_constants_become_the_first() {
        assert!(merged(Value::int32s(&[1, 2]), Value::int32s(&[1, 2])));
        assert!(merged(Value::string("a"), Value::string("a")));
        assert!(!merged(Value::int32s(&[1, 2]), Value::int32s(&[1, 3])));
    }

    #[test]
    fn values_are_compared_by_their_bits() {
        assert!(!merged(Value::fp32(0.0), Value::fp32(-0.0)));
        assert!(merged(Value::fp32(f32::NAN), Value::fp32(f32::NAN)));
    }

    #[test]
    fn constants_of_different_types_stay_apart() {
        assert!(!merged(Value::int32(1), Value::int32s(&[1])));
        let of_type =
            |dtype| Value { ty: TensorType::scalar(dtype).into(), data: ValueData::Tensor(TensorData::Bytes(vec![1])) };
        assert!(!merged(of_type(DataType::Int8), of_type(DataType::UInt8)));
    }

    #[test]
    fn blobs_are_equal_by_place() {
        let blob = |offset| {
            let reference = BlobReference { file_name: crate::WEIGHT_FILE.to_owned(), offset };
            Value::blob(TensorType::fixed(DataType::Float16, &[16]), reference)
        };
        assert!(merged(blob(64), blob(64)));
        assert!(!merged(blob(64), blob(128)));
    }

    #[test]
    fn text_is_not_confused_across_element_borders() {
        let strings = |elements: &[&str]| Value {
            ty: TensorType::fixed(DataType::String, &[2]).into(),
            data: ValueData::Tensor(TensorData::Strings(elements.iter().map(|text| (*text).to_owned()).collect())),
        };
        assert!(!merged(strings(&["ab", "c"]), strings(&["a", "bc"])));
    }

    #[test]
    fn a_constant_that_is_returned_keeps_its_name() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let constants: Vec<Var> = ["a", "b", "c"].map(|name| builder.constant(name, Value::int32s(&[1]))).to_vec();
        let y = builder.identity("y", &constants[2]).expect("valid");
        let mut function = builder.finish(&[&constants[1], &y]);
        assert_eq!(run(&mut function), Changed(1));
        assert_eq!(function.block.outputs, ["b", "y"]);
        let names: Vec<_> = function.block.operations.iter().filter_map(Operation::display_name).collect();
        assert_eq!(names, ["a", "b", "y"]);
    }
}
