//! Constants: whether the data is what the type says, and where a weight file may be.

use super::finding::clipped;
use crate::dtype::DataType;
use crate::ops::shape;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, TensorData, Value, ValueData};

/// The directory of weight files. Core ML's own converter has one file there, `weight.bin`.
const WEIGHT_DIRECTORY: &str = "@model_path/weights/";
/// Offsets in a weight file are multiples of this many bytes.
///
/// # Source
/// `MILBlob/Blob/StorageFormat.hpp`, coremltools@e0e2f42b; the header of the file and the record before each blob's data
/// have this size.
const BLOB_ALIGNMENT: u64 = 64;
/// Types and values nest no deeper than this.
const MAX_DEPTH: usize = 16;
/// Parts that a type may have in all.
const MAX_TYPE_PARTS: usize = 1024;
/// Elements, and bytes of text, that an operand may have for type inference to look at them. Shapes, axes and modes are
/// far smaller; the bound keeps many operations on one large constant from taking the product of both sizes.
const MAX_KNOWN_ELEMENTS: usize = 4096;

/// Whether `ty` is small enough to be inferred with and printed once per use.
pub(super) fn is_bounded(ty: &ValueType) -> bool {
    fn walk(ty: &ValueType, depth: usize, parts: &mut usize) -> bool {
        *parts += 1;
        if depth > MAX_DEPTH || *parts > MAX_TYPE_PARTS {
            return false;
        }
        match ty {
            ValueType::Tensor(tensor) | ValueType::State(tensor) => tensor.rank() <= shape::MAX_RANK,
            ValueType::List(element, _) => walk(element, depth + 1, parts),
            ValueType::Tuple(elements) => elements.iter().all(|element| walk(element, depth + 1, parts)),
            ValueType::Dictionary(key, value) => walk(key, depth + 1, parts) && walk(value, depth + 1, parts),
        }
    }
    walk(ty, 0, &mut 0)
}

/// Whether type inference may look at `value` as often as it is used.
pub(super) fn is_small(value: &Value) -> bool {
    match value.tensor_data() {
        Some(TensorData::Strings(strings)) => {
            strings.len() <= MAX_KNOWN_ELEMENTS && strings.iter().map(String::len).sum::<usize>() <= MAX_KNOWN_ELEMENTS
        }
        Some(data) => stored_count(data) <= MAX_KNOWN_ELEMENTS,
        None => value.as_blob().is_some(),
    }
}

/// What is wrong with `value`, if anything.
pub(super) fn problem(value: &Value) -> Option<String> {
    if is_bounded(&value.ty) {
        data_problem(value, 0)
    } else {
        Some("the type of the constant is nested too deeply or too large".to_owned())
    }
}

fn data_problem(value: &Value, depth: usize) -> Option<String> {
    if depth > MAX_DEPTH {
        return Some("the constant is nested too deeply".to_owned());
    }
    let element = |element: &Value, ty: &ValueType| {
        if element.ty == *ty {
            data_problem(element, depth + 1)
        } else {
            Some(format!("an element of the constant is not {ty} as the type says"))
        }
    };
    match (&value.ty, &value.data) {
        (ValueType::Tensor(ty), ValueData::Tensor(data)) => tensor_problem(ty, data),
        (ValueType::Tensor(ty), ValueData::Blob(reference)) => blob_problem(ty, reference),
        (ValueType::List(ty, length), ValueData::List(elements)) => {
            if length.fixed().is_some_and(|length| u64::try_from(elements.len()) != Ok(length)) {
                return Some(format!("the constant has {} elements, its type says {length}", elements.len()));
            }
            elements.iter().find_map(|value| element(value, ty))
        }
        (ValueType::Tuple(types), ValueData::Tuple(elements)) => {
            if types.len() != elements.len() {
                return Some(format!("the constant has {} elements, its type says {}", elements.len(), types.len()));
            }
            elements.iter().zip(types).find_map(|(value, ty)| element(value, ty))
        }
        (ValueType::Dictionary(key_type, value_type), ValueData::Dictionary(entries)) => {
            entries.iter().find_map(|(key, value)| element(key, key_type).or_else(|| element(value, value_type)))
        }
        (ty, _) => Some(format!("the data of the constant is not of the kind of its type {ty}")),
    }
}

fn tensor_problem(ty: &TensorType, data: &TensorData) -> Option<String> {
    let representation = representation(ty.dtype);
    if representation != field(data) {
        return Some(format!(
            "the elements of the constant are stored as {}, expected {representation} for {}",
            field(data),
            ty.dtype
        ));
    }
    let Some(count) = ty.element_count() else {
        return Some(format!("the type {ty} of the constant has no fixed number of elements"));
    };
    let found = u64::try_from(stored_count(data)).ok();
    let (expected, unit) = match data {
        TensorData::Bytes(_) => (ty.dtype.packed_bytes(count), "bytes"),
        _ => (Some(count), "elements"),
    };
    if expected.is_none() || expected != found {
        let expected = expected.map_or_else(|| "more than can be stored".to_owned(), |expected| expected.to_string());
        return Some(format!("the constant has {} {unit}, its type {ty} needs {expected}", stored_count(data)));
    }
    let range = match ty.dtype {
        DataType::Int16 => i32::from(i16::MIN)..=i32::from(i16::MAX),
        DataType::UInt16 => 0..=i32::from(u16::MAX),
        _ => return None,
    };
    let TensorData::Ints(elements) = data else { return None };
    let outside = elements.iter().find(|element| !range.contains(element))?;
    Some(format!("the element {outside} of the constant is not {}", ty.dtype))
}

/// The field of `TensorValue` that holds elements of `dtype`; see [`TensorData`].
fn representation(dtype: DataType) -> &'static str {
    match dtype {
        DataType::Bool => "bools",
        DataType::String => "strings",
        DataType::Float32 => "floats",
        DataType::Float64 => "doubles",
        DataType::Int16 | DataType::Int32 | DataType::UInt16 => "ints",
        DataType::Int64 | DataType::UInt64 => "longInts",
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
        | DataType::UInt32 => "bytes",
    }
}

fn field(data: &TensorData) -> &'static str {
    match data {
        TensorData::Floats(_) => "floats",
        TensorData::Ints(_) => "ints",
        TensorData::Bools(_) => "bools",
        TensorData::Strings(_) => "strings",
        TensorData::LongInts(_) => "longInts",
        TensorData::Doubles(_) => "doubles",
        TensorData::Bytes(_) => "bytes",
    }
}

fn stored_count(data: &TensorData) -> usize {
    match data {
        TensorData::Floats(elements) => elements.len(),
        TensorData::Ints(elements) => elements.len(),
        TensorData::Bools(elements) => elements.len(),
        TensorData::Strings(elements) => elements.len(),
        TensorData::LongInts(elements) => elements.len(),
        TensorData::Doubles(elements) => elements.len(),
        TensorData::Bytes(elements) => elements.len(),
    }
}

fn blob_problem(ty: &TensorType, reference: &BlobReference) -> Option<String> {
    if ty.dtype.blob_number().is_none() {
        return Some(format!("{} cannot stand in a weight file", ty.dtype));
    }
    let bytes = ty.element_count().and_then(|count| ty.dtype.packed_bytes(count));
    let end = bytes.and_then(|bytes| reference.offset.checked_add(BLOB_ALIGNMENT)?.checked_add(bytes));
    if end.is_none() {
        let unknown = ty.shape.contains(&Dimension::Unknown);
        return Some(format!("the type {ty} of a blob {}", if unknown { "has no fixed size" } else { "is too large" }));
    }
    if !reference.offset.is_multiple_of(BLOB_ALIGNMENT) || reference.offset == 0 {
        let found = reference.offset;
        return Some(format!("the blob offset {found} is not a positive multiple of {BLOB_ALIGNMENT}"));
    }
    let path = reference.file_name.strip_prefix(WEIGHT_DIRECTORY);
    let safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    if path.is_some_and(|path| path.split('/').all(safe)) {
        return None;
    }
    Some(format!("the weight file `{}` is not inside `{WEIGHT_DIRECTORY}`", clipped(&reference.file_name)))
}
