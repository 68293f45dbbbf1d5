//! Constants whose text is not known, or does not give them back.
//!
//! No compiled model that was seen has a quote, a backslash or a control character in a string, so how Core ML's compiler
//! writes them is not known; they are escaped as in C. Text says `nan` of every nan, whatever its bits.

use half::f16;

use super::CompiledError;
use crate::dtype::DataType;
use crate::program::{Block, Program};
use crate::value::{TensorData, Value, ValueData};

/// Requires that the text of every constant gives it back.
pub(super) fn check(program: &Program) -> Result<(), CompiledError> {
    match places(program, &|value| any(value, &has_other_nan)).into_iter().next() {
        None => Ok(()),
        Some(place) => {
            Err(CompiledError::Constant { place, problem: "a nan of unusual bits, which its text would not give back" })
        }
    }
}

/// The constants whose text is not known: the first ten, and how many more there are.
pub(super) fn unproven(program: &Program) -> Vec<String> {
    const SHOWN: usize = 10;
    let places = places(program, &|value| any(value, &has_unknown_text));
    let more = places.len().saturating_sub(SHOWN);
    let reason = "a quote, a backslash or a control character in a string";
    let mut forms: Vec<String> = places.iter().take(SHOWN).map(|place| format!("{place}: {reason}")).collect();
    if more > 0 {
        forms.push(format!("{more} more constants: {reason}"));
    }
    forms
}

/// Where the constants are of which `is_found` holds.
fn places(program: &Program, is_found: &dyn Fn(&Value) -> bool) -> Vec<String> {
    let attributes = program.attributes.iter().filter(|(_, value)| is_found(value));
    let mut places: Vec<String> = attributes.map(|(name, _)| format!("`{name}` of the program")).collect();
    for (name, function) in &program.functions {
        block_places(&function.block, name, is_found, &mut places);
    }
    places
}

fn block_places(block: &Block, function: &str, is_found: &dyn Fn(&Value) -> bool, places: &mut Vec<String>) {
    for operation in &block.operations {
        let result = operation.outputs.first().map_or(operation.op.as_str(), |output| &output.name);
        let found = operation.values().filter(|(_, value)| is_found(value));
        places.extend(found.map(|(parameter, _)| format!("`{parameter}` of `{result}` in `{function}`")));
        for block in &operation.blocks {
            block_places(block, function, is_found, places);
        }
    }
}

/// Whether something holds of the data of a value, or of one within it.
fn any(value: &Value, holds: &dyn Fn(&Value) -> bool) -> bool {
    match &value.data {
        ValueData::Tensor(_) | ValueData::Blob(_) => holds(value),
        ValueData::Tuple(values) | ValueData::List(values) => values.iter().any(|value| any(value, holds)),
        ValueData::Dictionary(entries) => entries.iter().any(|(key, value)| any(key, holds) || any(value, holds)),
    }
}

fn has_unknown_text(value: &Value) -> bool {
    match &value.data {
        ValueData::Tensor(TensorData::Strings(values)) => values.iter().any(|text| is_unknown(text)),
        ValueData::Blob(blob) => is_unknown(&blob.file_name),
        _ => false,
    }
}

fn is_unknown(text: &str) -> bool {
    text.contains(|c: char| matches!(c, '"' | '\\') || c.is_control())
}

fn has_other_nan(value: &Value) -> bool {
    match value.tensor_data() {
        Some(TensorData::Floats(values)) => {
            values.iter().any(|value| value.is_nan() && value.to_bits() != f32::NAN.to_bits())
        }
        Some(TensorData::Doubles(values)) => {
            values.iter().any(|value| value.is_nan() && value.to_bits() != f64::NAN.to_bits())
        }
        Some(TensorData::Bytes(bytes)) if value.tensor_type().is_some_and(|ty| ty.dtype == DataType::Float16) => {
            let (halves, _) = bytes.as_chunks();
            halves
                .iter()
                .map(|half| f16::from_le_bytes(*half))
                .any(|value| value.is_nan() && value.to_bits() != f16::NAN.to_bits())
        }
        _ => false,
    }
}
