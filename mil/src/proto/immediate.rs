//! Which representation the elements of an immediate tensor have.

use crate::dtype::DataType;
use crate::types::TensorType;
use crate::value::TensorData;

use super::ProtoProblem;

/// Checks that `data` is in the representation of its element type and has as many elements as the shape.
///
/// # Source
/// `MIL.proto` `TensorValue`, and what coremltools@e0e2f42b writes and refuses.
pub(super) fn check(ty: &TensorType, data: &TensorData) -> Result<(), ProtoProblem> {
    let (expected, bits) = representation(ty.dtype);
    let (found, length) = match data {
        TensorData::Floats(values) => ("floats", values.len()),
        TensorData::Ints(values) => ("ints", values.len()),
        TensorData::Bools(values) => ("bools", values.len()),
        TensorData::Strings(values) => ("strings", values.len()),
        TensorData::LongInts(values) => ("longInts", values.len()),
        TensorData::Doubles(values) => ("doubles", values.len()),
        TensorData::Bytes(values) => ("bytes", values.len()),
    };
    if found != expected {
        return Err(ProtoProblem::Representation { dtype: ty.dtype, found, expected });
    }
    let Some(count) = ty.element_count() else { return Ok(()) };
    let expected = count.checked_mul(bits).map(|total| total.div_ceil(8));
    if expected != Some(length as u64) {
        return Err(ProtoProblem::ElementCount { ty: ty.to_string(), found: length, unit: found });
    }
    Ok(())
}

/// The field of `TensorValue`, and bits per element of that field's list in units of an eighth of an entry.
fn representation(dtype: DataType) -> (&'static str, u64) {
    const ONE_ENTRY: u64 = 8;
    match dtype {
        DataType::Float32 => ("floats", ONE_ENTRY),
        DataType::Float64 => ("doubles", ONE_ENTRY),
        DataType::Int32 | DataType::Int16 | DataType::UInt16 => ("ints", ONE_ENTRY),
        DataType::Int64 | DataType::UInt64 => ("longInts", ONE_ENTRY),
        DataType::Bool => ("bools", ONE_ENTRY),
        DataType::String => ("strings", ONE_ENTRY),
        DataType::Float16
        | DataType::BFloat16
        | DataType::Int4
        | DataType::Int8
        | DataType::UInt1
        | DataType::UInt2
        | DataType::UInt3
        | DataType::UInt4
        | DataType::UInt6
        | DataType::UInt8
        | DataType::UInt32 => ("bytes", u64::from(dtype.bits())),
    }
}
