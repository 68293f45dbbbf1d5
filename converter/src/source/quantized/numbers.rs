//! Numbers as quantized checkpoints store them.

use half::{bf16, f16};

/// The type of the numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    BF16,
    /// Four bits of exponent, three of mantissa, no infinity.
    Fp8,
    I8,
    U8,
    /// 32 bits; signed and unsigned are the same bits here.
    Word,
    I64,
}

/// Types of scales.
pub(super) const FLOATS: [Kind; 3] = [Kind::F32, Kind::F16, Kind::BF16];

impl Kind {
    /// The type of a dtype as safetensors spells it.
    pub(super) fn of(dtype: &str) -> Option<Self> {
        Some(match dtype {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "F8_E4M3" => Self::Fp8,
            "I8" => Self::I8,
            "U8" => Self::U8,
            "I32" | "U32" => Self::Word,
            "I64" => Self::I64,
            _ => return None,
        })
    }

    /// The number at an index, or none beyond the end.
    #[expect(clippy::cast_precision_loss, reason = "integers of more than 24 bits are no weights")]
    pub(super) fn get(self, bytes: &[u8], index: usize) -> Option<f32> {
        fn chunk<const SIZE: usize>(bytes: &[u8], index: usize) -> Option<[u8; SIZE]> {
            bytes.as_chunks().0.get(index).copied()
        }
        Some(match self {
            Self::F32 => f32::from_le_bytes(chunk(bytes, index)?),
            Self::F16 => f16::from_le_bytes(chunk(bytes, index)?).to_f32(),
            Self::BF16 => bf16::from_le_bytes(chunk(bytes, index)?).to_f32(),
            Self::Fp8 => fp8(*bytes.get(index)?),
            Self::I8 => f32::from(i8::from_le_bytes(chunk(bytes, index)?)),
            Self::U8 => f32::from(*bytes.get(index)?),
            Self::Word => i32::from_le_bytes(chunk(bytes, index)?) as f32,
            Self::I64 => i64::from_le_bytes(chunk(bytes, index)?) as f32,
        })
    }
}

/// A word of 32 bits; zero beyond the end.
pub(super) fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.as_chunks().0.get(index).map_or(0, |word| u32::from_le_bytes(*word))
}

/// `width` bits, at most eight, from a bit on, the lowest first; zero beyond the end.
pub(super) fn bits(bytes: &[u8], at: usize, width: usize) -> u32 {
    let byte = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    let both = byte(at / 8) | byte(at / 8 + 1) << 8;
    (both >> (at % 8)) & ((1 << width) - 1)
}

/// An fp8 of the form E4M3FN: a sign, four bits of exponent with a bias of 7, three bits of mantissa; the largest magnitude
/// is 448, and all ones is NaN.
///
/// # Source
/// Micikevicius and others, FP8 Formats for Deep Learning, 2022.
pub(super) fn fp8(bits: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 3) & 0xf, u32::from(bits) & 0x7);
    let sign = u32::from(bits >> 7) << 31;
    if exponent == 0xf && mantissa == 0x7 {
        return f32::NAN;
    }
    if exponent == 0 {
        #[expect(clippy::cast_precision_loss, reason = "three bits")]
        let magnitude = mantissa as f32 / 512.0;
        return f32::from_bits(magnitude.to_bits() | sign);
    }
    f32::from_bits(sign | (exponent + 127 - 7) << 23 | mantissa << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp8_has_the_values_of_its_definition() {
        assert_eq!(
            [0x00, 0x01, 0x08, 0x38, 0x7e, 0xfe, 0xb8].map(fp8),
            [0.0, 0.001_953_125, 0.015_625, 1.0, 448.0, -448.0, -1.0]
        );
        assert!(fp8(0x7f).is_nan() && fp8(0xff).is_nan());
        assert_eq!(fp8(0x80).to_bits(), (-0.0_f32).to_bits());
    }

    #[test]
    fn bits_run_on_over_bytes() {
        let bytes = [0b1011_0101, 0b0000_0010];
        assert_eq!([0, 3, 6].map(|at| bits(&bytes, at, 3)), [0b101, 0b110, 0b010]);
        assert_eq!(bits(&bytes, 8, 8), 2);
        assert_eq!(bits(&bytes, 40, 8), 0);
    }
}
