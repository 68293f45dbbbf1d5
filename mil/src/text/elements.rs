//! Tensor elements as literals: what each element type's literal looks like, and how literals become stored elements.

use std::fmt::Write as _;

use half::f16;

use super::hex_float;
use crate::dtype::DataType;
use crate::value::TensorData;

/// Elements of a tensor, one literal at a time.
pub(super) struct Elements<'a> {
    dtype: DataType,
    data: &'a TensorData,
}

impl<'a> Elements<'a> {
    pub(super) fn new(dtype: DataType, data: &'a TensorData) -> Self {
        Self { dtype, data }
    }

    /// How many there are, or `None` where the representation does not fit the type.
    pub(super) fn len(&self) -> Option<usize> {
        let dtype = self.dtype;
        match self.data {
            TensorData::Floats(values) if dtype == DataType::Float32 => Some(values.len()),
            TensorData::Doubles(values) if dtype == DataType::Float64 => Some(values.len()),
            TensorData::Bools(values) if dtype == DataType::Bool => Some(values.len()),
            TensorData::Strings(values) if dtype == DataType::String => Some(values.len()),
            TensorData::Ints(values) if ints_hold(dtype) => Some(values.len()),
            TensorData::LongInts(values) if matches!(dtype, DataType::Int64 | DataType::UInt64) => Some(values.len()),
            TensorData::Bytes(bytes) if bytes_hold(dtype) => {
                bytes.len().checked_mul(8)?.checked_div(dtype.bits() as usize)
            }
            _ => None,
        }
    }

    /// Appends the literal of element `index`.
    pub(super) fn write(&self, index: usize, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self.data {
            TensorData::Floats(values) => {
                hex_float::write(f64::from(values.get(index).copied().unwrap_or_default()), text);
                Ok(())
            }
            TensorData::Doubles(values) => {
                hex_float::write(values.get(index).copied().unwrap_or_default(), text);
                Ok(())
            }
            TensorData::Bools(values) => write!(text, "{}", values.get(index).copied().unwrap_or_default()),
            TensorData::Strings(values) => {
                write_string(values.get(index).map_or("", String::as_str), text);
                Ok(())
            }
            TensorData::Ints(values) => write!(text, "{}", values.get(index).copied().unwrap_or_default()),
            TensorData::LongInts(values) => {
                let value = values.get(index).copied().unwrap_or_default();
                if self.dtype == DataType::UInt64 {
                    write!(text, "{}", value.cast_unsigned())
                } else {
                    write!(text, "{value}")
                }
            }
            TensorData::Bytes(bytes) => {
                self.write_bytes(bytes, index, text);
                Ok(())
            }
        };
    }

    fn write_bytes(&self, bytes: &[u8], index: usize, text: &mut String) {
        let raw = packed_element(bytes, index, self.dtype.bits());
        let bits = self.dtype.bits();
        let _ = match self.dtype {
            DataType::Float16 => {
                hex_float::write(f16::from_bits(low_16(raw)).to_f64(), text);
                Ok(())
            }
            DataType::Int4 | DataType::Int8 => {
                let signed = i64::from(raw);
                let signed = if raw >> (bits - 1) == 1 { signed - (1 << bits) } else { signed };
                write!(text, "{signed}")
            }
            _ => write!(text, "{raw}"),
        };
    }
}

/// Element types whose elements are kept as int32.
fn ints_hold(dtype: DataType) -> bool {
    matches!(dtype, DataType::Int32 | DataType::Int16 | DataType::UInt16)
}

/// Element types whose elements are kept as packed bytes.
fn bytes_hold(dtype: DataType) -> bool {
    use DataType::{Float16, Int4, Int8, UInt1, UInt2, UInt3, UInt4, UInt6, UInt8, UInt32};
    matches!(dtype, Float16 | Int8 | UInt8 | UInt32 | Int4 | UInt1 | UInt2 | UInt3 | UInt4 | UInt6)
}

fn low_16(raw: u32) -> u16 {
    let [a, b, _, _] = raw.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// Element `index` of a little-endian bit stream of elements of up to 32 bits.
fn packed_element(bytes: &[u8], index: usize, bits: u32) -> u32 {
    let start = index * bits as usize;
    let mut window = [0; 8];
    for (slot, byte) in window.iter_mut().zip(bytes.get(start / 8..).unwrap_or_default()) {
        *slot = *byte;
    }
    let word = u64::from_le_bytes(window) >> (start % 8);
    u32::try_from(word & ((1_u64 << bits) - 1)).unwrap_or(u32::MAX)
}

/// Appends a quoted string.
///
/// No compiled model that was seen has a quote or a backslash in a string; that they are escaped as in C is assumed.
pub(super) fn write_string(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

/// Collects the literals of a tensor.
pub(super) struct Collector {
    dtype: DataType,
    data: TensorData,
    /// Bits of packed elements that do not fill a byte yet.
    pending: u64,
    pending_bits: u32,
    count: u64,
}

impl Collector {
    /// For elements of this type, or `None` where it has no literals.
    pub(super) fn new(dtype: DataType) -> Option<Self> {
        let data = match dtype {
            DataType::Float32 => TensorData::Floats(Vec::new()),
            DataType::Float64 => TensorData::Doubles(Vec::new()),
            DataType::Bool => TensorData::Bools(Vec::new()),
            DataType::String => TensorData::Strings(Vec::new()),
            DataType::Int64 | DataType::UInt64 => TensorData::LongInts(Vec::new()),
            _ if ints_hold(dtype) => TensorData::Ints(Vec::new()),
            _ if bytes_hold(dtype) => TensorData::Bytes(Vec::new()),
            _ => return None,
        };
        Some(Self { dtype, data, pending: 0, pending_bits: 0, count: 0 })
    }

    /// Adds a string; false where strings are not what the tensor holds.
    pub(super) fn string(&mut self, value: String) -> bool {
        self.count += 1;
        match &mut self.data {
            TensorData::Strings(values) => values.push(value),
            _ => return false,
        }
        true
    }

    /// Adds a bare literal; false where it is not one of the element type.
    pub(super) fn literal(&mut self, literal: &str) -> bool {
        self.count += 1;
        self.push(literal).is_some()
    }

    /// How many elements there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The elements.
    pub(super) fn finish(mut self) -> TensorData {
        if let (TensorData::Bytes(bytes), true) = (&mut self.data, self.pending_bits > 0) {
            bytes.push(self.pending.to_le_bytes()[0]);
        }
        self.data
    }

    fn push(&mut self, literal: &str) -> Option<()> {
        match &mut self.data {
            #[expect(clippy::cast_possible_truncation, reason = "a longer literal is rounded to its type")]
            TensorData::Floats(values) => values.push(hex_float::read(literal)? as f32),
            TensorData::Doubles(values) => values.push(hex_float::read(literal)?),
            TensorData::Bools(values) => values.push(literal.parse().ok()?),
            TensorData::Strings(_) => return None,
            TensorData::Ints(values) => values.push(match self.dtype {
                DataType::Int16 => i32::from(literal.parse::<i16>().ok()?),
                DataType::UInt16 => i32::from(literal.parse::<u16>().ok()?),
                _ => literal.parse().ok()?,
            }),
            TensorData::LongInts(values) => values.push(if self.dtype == DataType::UInt64 {
                literal.parse::<u64>().ok()?.cast_signed()
            } else {
                literal.parse().ok()?
            }),
            TensorData::Bytes(_) => {
                let raw = self.raw(literal)?;
                self.push_bits(raw);
            }
        }
        Some(())
    }

    /// The bits of a packed element.
    fn raw(&self, literal: &str) -> Option<u32> {
        let bits = self.dtype.bits();
        if self.dtype == DataType::Float16 {
            return hex_float::read(literal).map(|value| u32::from(f16::from_f64(value).to_bits()));
        }
        let value: i64 = literal.parse().ok()?;
        let signed = matches!(self.dtype, DataType::Int4 | DataType::Int8);
        let range = if signed { -(1_i64 << (bits - 1))..1_i64 << (bits - 1) } else { 0..1_i64 << bits };
        if !range.contains(&value) {
            return None;
        }
        u32::try_from(value.rem_euclid(1 << bits)).ok()
    }

    fn push_bits(&mut self, raw: u32) {
        let TensorData::Bytes(bytes) = &mut self.data else { return };
        self.pending |= u64::from(raw) << self.pending_bits;
        self.pending_bits += self.dtype.bits();
        while self.pending_bits >= 8 {
            bytes.push(self.pending.to_le_bytes()[0]);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }
}
