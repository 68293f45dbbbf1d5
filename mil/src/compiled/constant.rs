//! Constants whose text is not known, or does not give them back.
//!
//! No compiled model that was seen has a quote, a backslash or a control character in a string, so how Core ML's compiler
//! writes them would be a guess. Text says `nan` of every nan, whatever its bits.

use half::f16;

use super::CompiledError;
use crate::dtype::DataType;
use crate::program::Program;
use crate::value::{TensorData, Value, ValueData};

/// Requires that every constant of a program has a text of its own.
pub(super) fn check(program: &Program) -> Result<(), CompiledError> {
    let refused = |place: String| move |problem| CompiledError::Constant { place, problem };
    for (name, value) in &program.attributes {
        check_value(value).map_err(refused(format!("`{name}` of the program")))?;
    }
    for (name, function) in &program.functions {
        for operation in &function.block.operations {
            for (parameter, value) in operation.values() {
                let result = operation.outputs.first().map_or(operation.op.as_str(), |output| &output.name);
                check_value(value).map_err(refused(format!("`{parameter}` of `{result}` in `{name}`")))?;
            }
        }
    }
    Ok(())
}

fn check_value(value: &Value) -> Result<(), &'static str> {
    match &value.data {
        ValueData::Tensor(data) => {
            let dtype = value.tensor_type().map_or(DataType::String, |ty| ty.dtype);
            check_elements(data, dtype)
        }
        ValueData::Blob(blob) => check_text(&blob.file_name),
        ValueData::Tuple(values) | ValueData::List(values) => values.iter().try_for_each(check_value),
        ValueData::Dictionary(entries) => {
            entries.iter().try_for_each(|(key, value)| check_value(key).and_then(|()| check_value(value)))
        }
    }
}

fn check_elements(data: &TensorData, dtype: DataType) -> Result<(), &'static str> {
    let other_nan = match data {
        TensorData::Strings(values) => return values.iter().try_for_each(|text| check_text(text)),
        TensorData::Floats(values) => {
            values.iter().any(|value| value.is_nan() && value.to_bits() != f32::NAN.to_bits())
        }
        TensorData::Doubles(values) => {
            values.iter().any(|value| value.is_nan() && value.to_bits() != f64::NAN.to_bits())
        }
        TensorData::Bytes(bytes) if dtype == DataType::Float16 => {
            let (halves, _) = bytes.as_chunks();
            halves
                .iter()
                .map(|half| f16::from_le_bytes(*half))
                .any(|value| value.is_nan() && value.to_bits() != f16::NAN.to_bits())
        }
        _ => false,
    };
    if other_nan { Err("a nan of unusual bits, which its text would not give back") } else { Ok(()) }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    let unknown = |c: char| matches!(c, '"' | '\\') || c.is_control();
    if text.contains(unknown) {
        return Err("a quote, a backslash or a control character, which have no known compiled form");
    }
    Ok(())
}
