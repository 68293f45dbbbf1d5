//! Elements that are kept as a weight file stores them.

use std::fmt::Debug;

use crate::dtype::DataType;

/// Floats that are computed when they are needed.
pub trait Expand: Debug + Send + Sync {
    /// Number of elements.
    fn count(&self) -> usize;

    /// Writes the elements `start..start + output.len()`, which exist.
    fn expand(&self, start: usize, output: &mut [f32]);
}

/// Widens packed floats; `None` where they are no floats or too few.
pub(super) fn expand_stored(dtype: DataType, bytes: &[u8], start: usize, output: &mut [f32]) -> Option<()> {
    let width = match dtype {
        DataType::Float16 | DataType::BFloat16 => 2,
        DataType::Float32 => 4,
        _ => return None,
    };
    let end = start.checked_add(output.len())?;
    let bytes = bytes.get(start.checked_mul(width)?..end.checked_mul(width)?)?;
    match dtype {
        DataType::Float16 => super::kernel::half::widen(bytes, output),
        DataType::BFloat16 => {
            for (output, pair) in output.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *output = f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16);
            }
        }
        _ => {
            for (output, word) in output.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *output = f32::from_le_bytes(*word);
            }
        }
    }
    Some(())
}

/// Unpacks integers of 1 to 32 bits; `None` where they are no such integers or too few, or do not fit.
pub(super) fn stored_integers(dtype: DataType, bytes: &[u8], count: usize) -> Option<Vec<i32>> {
    let mut output = Vec::with_capacity(count);
    match dtype {
        DataType::Int8 => output.extend(bytes.iter().map(|byte| i32::from(byte.cast_signed()))),
        DataType::UInt8 => output.extend(bytes.iter().map(|byte| i32::from(*byte))),
        DataType::Int16 => output.extend(bytes.as_chunks().0.iter().map(|pair| i32::from(i16::from_le_bytes(*pair)))),
        DataType::UInt16 => output.extend(bytes.as_chunks().0.iter().map(|pair| i32::from(u16::from_le_bytes(*pair)))),
        DataType::Int32 => output.extend(bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word))),
        DataType::UInt32 => {
            for word in bytes.as_chunks().0 {
                output.push(i32::try_from(u32::from_le_bytes(*word)).ok()?);
            }
        }
        _ if dtype.is_integer() && dtype.bits() < 8 => {
            let bits = dtype.bits() as usize;
            let signed = dtype == DataType::Int4;
            for index in 0..count {
                let value = i32::from(sub_byte(bytes, bits, index)?);
                output.push(if signed && value >= 8 { value - 16 } else { value });
            }
        }
        _ => return None,
    }
    output.truncate(count);
    (output.len() == count).then_some(output)
}

/// Unpacks integers of 1 to 8 bits as floats; `None` where they are no such integers or too few.
pub(super) fn expand_stored_integers(dtype: DataType, bytes: &[u8], start: usize, output: &mut [f32]) -> Option<()> {
    let end = start.checked_add(output.len())?;
    match dtype {
        DataType::Int8 => {
            for (output, byte) in output.iter_mut().zip(bytes.get(start..end)?) {
                *output = f32::from(byte.cast_signed());
            }
        }
        DataType::UInt8 => {
            for (output, byte) in output.iter_mut().zip(bytes.get(start..end)?) {
                *output = f32::from(*byte);
            }
        }
        DataType::Int4 | DataType::UInt4 => {
            let sign = if dtype == DataType::Int4 { 8 } else { 0 };
            let nibble = |index: usize, byte: u8| {
                let value = if index.is_multiple_of(2) { byte & 0xf } else { byte >> 4 };
                f32::from((value ^ sign).cast_signed()) - f32::from(sign)
            };
            let bytes = bytes.get(start / 2..end.div_ceil(2))?;
            for (index, output) in output.iter_mut().enumerate() {
                let place = start % 2 + index;
                *output = nibble(place, *bytes.get(place / 2)?);
            }
        }
        _ if dtype.is_integer() && dtype.bits() < 8 => {
            for (index, output) in output.iter_mut().enumerate() {
                *output = f32::from(sub_byte(bytes, dtype.bits() as usize, start.checked_add(index)?)?);
            }
        }
        _ => return None,
    }
    Some(())
}

/// The sub-byte element `index` of `bits` bits.
pub(crate) fn sub_byte(bytes: &[u8], bits: usize, index: usize) -> Option<u8> {
    let bit = index.checked_mul(bits)?;
    let low = u16::from(*bytes.get(bit / 8)?);
    let high = u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
    let mask = (1_u16 << bits) - 1;
    u8::try_from(((low | high << 8) >> (bit % 8)) & mask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_byte_integers_are_packed_from_the_low_bits_up() {
        assert_eq!(stored_integers(DataType::UInt3, &[0x88, 0xc6, 0xfa], 8), Some(vec![0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(stored_integers(DataType::UInt4, &[0x10, 0x32], 3), Some(vec![0, 1, 2]));
        assert_eq!(stored_integers(DataType::Int4, &[0xf8], 2), Some(vec![-8, -1]));
        assert_eq!(stored_integers(DataType::UInt6, &[0x40, 0x20, 0x0c], 4), Some(vec![0, 1, 2, 3]));
    }

    #[test]
    fn integers_are_widened_from_any_place() {
        let expanded = |dtype, bytes: &[u8], start, count| {
            let mut output = vec![0.0; count];
            expand_stored_integers(dtype, bytes, start, &mut output).map(|()| output)
        };
        assert_eq!(expanded(DataType::Int4, &[0x78, 0x0f], 0, 3), Some(vec![-8.0, 7.0, -1.0]));
        assert_eq!(expanded(DataType::UInt4, &[0x78, 0x0f], 1, 3), Some(vec![7.0, 15.0, 0.0]));
        assert_eq!(expanded(DataType::Int8, &[0, 0xff], 1, 1), Some(vec![-1.0]));
        assert_eq!(expanded(DataType::UInt8, &[0, 0xff], 1, 1), Some(vec![255.0]));
        assert_eq!(expanded(DataType::UInt3, &[0x88, 0xc6, 0xfa], 5, 3), Some(vec![5.0, 6.0, 7.0]));
        assert_eq!(expanded(DataType::Int4, &[0], 1, 2), None);
        assert_eq!(expanded(DataType::Int16, &[0; 4], 0, 1), None);
    }

    #[test]
    fn whole_byte_integers_keep_their_sign() {
        assert_eq!(stored_integers(DataType::Int8, &[0xff, 0x7f], 2), Some(vec![-1, 127]));
        assert_eq!(stored_integers(DataType::UInt16, &[0xff, 0xff], 1), Some(vec![65_535]));
        assert_eq!(stored_integers(DataType::UInt32, &[0, 0, 0, 0x80], 1), None);
    }

    #[test]
    fn too_few_bytes_are_no_tensor() {
        assert_eq!(stored_integers(DataType::UInt16, &[0xff], 1), None);
        assert_eq!(stored_integers(DataType::UInt3, &[0x88], 3), Some(vec![0, 1, 2]));
        assert_eq!(stored_integers(DataType::UInt3, &[], 1), None);
        assert!(expand_stored(DataType::Float16, &[0, 0], 1, &mut [0.0]).is_none());
    }

    #[test]
    fn stored_floats_are_widened_exactly() {
        let mut output = [0.0; 2];
        assert!(expand_stored(DataType::Float16, &[0, 0x3c, 1, 0], 0, &mut output).is_some());
        assert_eq!(output, [1.0, half::f16::from_bits(1).to_f32()]);
        assert!(expand_stored(DataType::BFloat16, &[0x80, 0x3f], 0, &mut output[..1]).is_some());
        assert_eq!(output[0].to_bits(), 1.0_f32.to_bits());
    }
}
