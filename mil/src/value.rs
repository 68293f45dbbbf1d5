//! Constant values: immediate data in the program, or a place in the weight file.

use half::f16;

use crate::dtype::DataType;
use crate::types::{TensorType, ValueType};

/// Where Core ML looks for a package's weights, as programs name it.
///
/// # Source
/// Every published package; `@model_path` is the directory that holds the program.
pub const WEIGHT_FILE: &str = "@model_path/weights/weight.bin";

/// A constant with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The type.
    pub ty: ValueType,
    /// The data.
    pub data: ValueData,
}

/// The data of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueData {
    /// Tensor elements inside the program.
    Tensor(TensorData),
    /// Elements of a tuple.
    Tuple(Vec<Value>),
    /// Elements of a list.
    List(Vec<Value>),
    /// Entries of a dictionary, in file order.
    Dictionary(Vec<(Value, Value)>),
    /// A blob in a weight file.
    Blob(BlobReference),
}

/// Elements of an immediate tensor, row-major, in the representation that the protobuf uses for the element type.
///
/// # Source
/// `MIL.proto` `TensorValue`: fp16, 8-bit, sub-byte and uint32 elements are raw little-endian `bytes`; fp32 is `floats`;
/// int32, int16 and uint16 are `ints`; int64 and uint64 are `longInts`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is named for its protobuf field")]
pub enum TensorData {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
    LongInts(Vec<i64>),
    Doubles(Vec<f64>),
    Bytes(Vec<u8>),
}

/// A place in a weight file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobReference {
    /// File name as the program spells it, such as [`WEIGHT_FILE`].
    pub file_name: String,
    /// Byte offset of the blob's 64-byte metadata record.
    pub offset: u64,
}

impl Value {
    fn tensor(ty: TensorType, data: TensorData) -> Self {
        Self { ty: ValueType::Tensor(ty), data: ValueData::Tensor(data) }
    }

    /// A scalar string.
    pub fn string(text: impl Into<String>) -> Self {
        Self::tensor(TensorType::scalar(DataType::String), TensorData::Strings(vec![text.into()]))
    }

    /// A scalar boolean.
    pub fn bool(value: bool) -> Self {
        Self::tensor(TensorType::scalar(DataType::Bool), TensorData::Bools(vec![value]))
    }

    /// A scalar int32.
    pub fn int32(value: i32) -> Self {
        Self::tensor(TensorType::scalar(DataType::Int32), TensorData::Ints(vec![value]))
    }

    /// A scalar fp16.
    pub fn fp16(value: f16) -> Self {
        Self::tensor(TensorType::scalar(DataType::Float16), TensorData::Bytes(value.to_le_bytes().to_vec()))
    }

    /// A scalar fp32.
    pub fn fp32(value: f32) -> Self {
        Self::tensor(TensorType::scalar(DataType::Float32), TensorData::Floats(vec![value]))
    }

    /// A vector of int32.
    pub fn int32s(values: &[i32]) -> Self {
        Self::tensor(TensorType::fixed(DataType::Int32, &[values.len() as u64]), TensorData::Ints(values.to_vec()))
    }

    /// A tensor of fp16 of this shape, row-major.
    pub fn halves(shape: &[u64], values: &[f16]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::tensor(TensorType::fixed(DataType::Float16, shape), TensorData::Bytes(bytes))
    }

    /// A vector of booleans.
    pub fn bools(values: &[bool]) -> Self {
        Self::tensor(TensorType::fixed(DataType::Bool, &[values.len() as u64]), TensorData::Bools(values.to_vec()))
    }

    /// A reference to a blob of this type.
    pub fn blob(ty: TensorType, reference: BlobReference) -> Self {
        Self { ty: ValueType::Tensor(ty), data: ValueData::Blob(reference) }
    }

    /// The tensor type, if this is a tensor.
    pub fn tensor_type(&self) -> Option<&TensorType> {
        self.ty.as_tensor()
    }

    /// The immediate elements, if this is an immediate tensor.
    pub fn tensor_data(&self) -> Option<&TensorData> {
        match &self.data {
            ValueData::Tensor(data) => Some(data),
            _ => None,
        }
    }

    /// The blob, if this is stored in a weight file.
    pub fn as_blob(&self) -> Option<&BlobReference> {
        match &self.data {
            ValueData::Blob(reference) => Some(reference),
            _ => None,
        }
    }

    /// The text of an immediate scalar string.
    pub fn as_str(&self) -> Option<&str> {
        match self.tensor_data()? {
            TensorData::Strings(strings) if strings.len() == 1 => strings.first().map(String::as_str),
            _ => None,
        }
    }

    /// The value of an immediate scalar boolean.
    pub fn as_bool(&self) -> Option<bool> {
        self.as_bools().filter(|values| values.len() == 1)?.first().copied()
    }

    /// The value of an immediate scalar integer of any width.
    pub fn as_int(&self) -> Option<i64> {
        let values = self.as_ints()?;
        if values.len() == 1 { values.first().copied() } else { None }
    }

    /// The value of an immediate scalar integer or floating-point number, widened to f64.
    pub fn as_number(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "lengths and factors are far below 2^53")]
        let integer = self.as_int().map(|value| value as f64);
        let float = || self.as_floats().filter(|values| values.len() == 1)?.first().copied();
        integer.or_else(float)
    }

    /// The elements of an immediate boolean tensor.
    pub fn as_bools(&self) -> Option<&[bool]> {
        match self.tensor_data()? {
            TensorData::Bools(values) => Some(values),
            _ => None,
        }
    }

    /// The elements of an immediate integer tensor of a whole-byte width, widened.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        let dtype = self.tensor_type()?.dtype;
        match self.tensor_data()? {
            TensorData::Ints(values) => Some(values.iter().map(|value| i64::from(*value)).collect()),
            TensorData::LongInts(values) => Some(values.clone()),
            TensorData::Bytes(bytes) => match dtype {
                DataType::Int8 => Some(bytes.iter().map(|byte| i64::from(byte.cast_signed())).collect()),
                DataType::UInt8 => Some(bytes.iter().map(|byte| i64::from(*byte)).collect()),
                DataType::UInt32 => {
                    let (words, rest) = bytes.as_chunks::<4>();
                    rest.is_empty().then(|| words.iter().map(|word| i64::from(u32::from_le_bytes(*word))).collect())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements of an immediate floating-point tensor, widened to f64.
    pub fn as_floats(&self) -> Option<Vec<f64>> {
        let dtype = self.tensor_type()?.dtype;
        match self.tensor_data()? {
            TensorData::Floats(values) => Some(values.iter().map(|value| f64::from(*value)).collect()),
            TensorData::Doubles(values) => Some(values.clone()),
            TensorData::Bytes(bytes) if dtype == DataType::Float16 => {
                let (halves, rest) = bytes.as_chunks::<2>();
                rest.is_empty().then(|| halves.iter().map(|pair| f16::from_le_bytes(*pair).to_f64()).collect())
            }
            _ => None,
        }
    }
}
