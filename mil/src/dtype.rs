//! Element types of tensors, with their names and numbers in each form MIL takes.

use std::fmt;

use anec_schemas::contract::ElementType;

/// The element type of a tensor.
///
/// # Source
/// Text names: Core ML's own `model.mil` files. `proto` numbers: `MIL.proto` `DataType`. `blob` numbers:
/// `MILBlob/Blob/BlobDataType.hpp`, coremltools@e0e2f42b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the format's own name")]
pub enum DataType {
    Bool,
    String,
    Float16,
    Float32,
    Float64,
    BFloat16,
    Int4,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt1,
    UInt2,
    UInt3,
    UInt4,
    UInt6,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
}

impl From<ElementType> for DataType {
    fn from(dtype: ElementType) -> Self {
        match dtype {
            ElementType::Float16 => Self::Float16,
            ElementType::Float32 => Self::Float32,
            ElementType::Int32 => Self::Int32,
        }
    }
}

/// One row of facts about a [`DataType`].
struct Row {
    dtype: DataType,
    text: &'static str,
    proto: i32,
    blob: Option<u32>,
    bits: u32,
}

const fn row(dtype: DataType, text: &'static str, proto: i32, blob: Option<u32>, bits: u32) -> Row {
    Row { dtype, text, proto, blob, bits }
}

/// In the order of the enum, so that a variant's number is its row.
const TABLE: [Row; 20] = [
    row(DataType::Bool, "bool", 1, None, 8),
    row(DataType::String, "string", 2, None, 0),
    row(DataType::Float16, "fp16", 10, Some(1), 16),
    row(DataType::Float32, "fp32", 11, Some(2), 32),
    row(DataType::Float64, "fp64", 12, None, 64),
    row(DataType::BFloat16, "bf16", 13, Some(5), 16),
    row(DataType::Int4, "int4", 25, Some(8), 4),
    row(DataType::Int8, "int8", 21, Some(4), 8),
    row(DataType::Int16, "int16", 22, Some(6), 16),
    row(DataType::Int32, "int32", 23, Some(14), 32),
    row(DataType::Int64, "int64", 24, None, 64),
    row(DataType::UInt1, "uint1", 37, Some(9), 1),
    row(DataType::UInt2, "uint2", 36, Some(10), 2),
    row(DataType::UInt3, "uint3", 39, Some(12), 3),
    row(DataType::UInt4, "uint4", 35, Some(11), 4),
    row(DataType::UInt6, "uint6", 38, Some(13), 6),
    row(DataType::UInt8, "uint8", 31, Some(3), 8),
    row(DataType::UInt16, "uint16", 32, Some(7), 16),
    row(DataType::UInt32, "uint32", 33, Some(15), 32),
    row(DataType::UInt64, "uint64", 34, None, 64),
];

impl DataType {
    /// Every element type, in declaration order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.dtype)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The name in MIL text, such as `fp16`.
    pub fn text_name(self) -> &'static str {
        self.row().text
    }

    /// The type that MIL text calls `name`.
    pub fn from_text_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.text == name).map(|row| row.dtype)
    }

    /// The number in `MIL.proto`.
    pub fn proto_number(self) -> i32 {
        self.row().proto
    }

    /// The type with this number in `MIL.proto`.
    pub fn from_proto_number(number: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.proto == number).map(|row| row.dtype)
    }

    /// The number in the metadata of a weight file, for the types that can stand in one.
    pub fn blob_number(self) -> Option<u32> {
        self.row().blob
    }

    /// The type with this number in the metadata of a weight file.
    pub fn from_blob_number(number: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.blob == Some(number)).map(|row| row.dtype)
    }

    /// Bits per element; 0 for strings, 8 for booleans.
    pub fn bits(self) -> u32 {
        self.row().bits
    }

    /// Bytes that `count` packed elements take, or `None` on overflow.
    pub fn packed_bytes(self, count: u64) -> Option<u64> {
        count.checked_mul(u64::from(self.bits())).map(|bits| bits.div_ceil(8))
    }

    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64 | Self::BFloat16)
    }

    /// Whether this is a signed or unsigned integer type.
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::String)
    }

    /// The unsigned index type of `bits` bits (1, 2, 3, 4, 6 or 8).
    pub fn unsigned(bits: u32) -> Option<Self> {
        match bits {
            1 => Some(Self::UInt1),
            2 => Some(Self::UInt2),
            3 => Some(Self::UInt3),
            4 => Some(Self::UInt4),
            6 => Some(Self::UInt6),
            8 => Some(Self::UInt8),
            _ => None,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_again_by_each_of_its_names() {
        for dtype in DataType::all() {
            assert_eq!(TABLE[dtype as usize].dtype, dtype);
            assert_eq!(DataType::from_text_name(dtype.text_name()), Some(dtype));
            assert_eq!(DataType::from_proto_number(dtype.proto_number()), Some(dtype));
            if let Some(number) = dtype.blob_number() {
                assert_eq!(DataType::from_blob_number(number), Some(dtype));
            }
        }
    }

    #[test]
    fn sub_byte_elements_round_up_to_whole_bytes() {
        assert_eq!(DataType::UInt3.packed_bytes(3), Some(2));
        assert_eq!(DataType::UInt4.packed_bytes(8), Some(4));
        assert_eq!(DataType::Float32.packed_bytes(u64::MAX), None);
    }
}
