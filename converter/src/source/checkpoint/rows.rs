//! Conversion of source elements to fp16, in blocks that stay in the first-level cache.
//!
//! Values are rounded to the nearest fp16, ties to even. Nothing is clamped or flushed on purpose: a value without an
//! fp16 is an error.

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::SourceDtype;

/// Elements converted at a time.
const BLOCK: usize = 4096;

/// The smallest magnitude that rounds to infinity in fp16: halfway between 65504, the largest value, and 65536.
const OVERFLOW: f32 = 65520.0;

/// All bits of an fp32 but its sign.
const MAGNITUDE: u32 = 0x7fff_ffff;

/// An element without an fp16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BadElement {
    /// Position among the elements given.
    pub(super) index: usize,
    /// The value.
    pub(super) value: f32,
}

/// Replaces the content of `out` by the elements of `bytes`, little endian.
pub(super) fn to_f16(dtype: SourceDtype, bytes: &[u8], out: &mut Vec<f16>) -> Result<(), BadElement> {
    out.clear();
    out.reserve_exact(bytes.len() / dtype.size());
    match dtype {
        SourceDtype::BF16 => {
            blocks(bytes.as_chunks().0, out, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
        }
        SourceDtype::F32 => blocks(bytes.as_chunks().0, out, f32::from_le_bytes),
        SourceDtype::F16 => {
            out.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes)));
            match out.iter().position(|value| !value.is_finite()) {
                None => Ok(()),
                Some(index) => {
                    Err(BadElement { index, value: out.get(index).map_or(f32::NAN, |value| value.to_f32()) })
                }
            }
        }
    }
}

/// As [`to_f16`], in full precision.
pub(super) fn to_f32(dtype: SourceDtype, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), BadElement> {
    out.clear();
    out.reserve_exact(bytes.len() / dtype.size());
    match dtype {
        SourceDtype::BF16 => out.extend(
            bytes.as_chunks().0.iter().map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16)),
        ),
        SourceDtype::F32 => out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        SourceDtype::F16 => {
            out.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
        }
    }
    check_finite(out)
}

/// Refuses values that are not finite.
pub(super) fn check_finite(values: &[f32]) -> Result<(), BadElement> {
    match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, value)) => Err(BadElement { index, value: *value }),
        None => Ok(()),
    }
}

/// Replaces the content of `out` by values, rounded.
pub(super) fn narrow(values: &[f32], out: &mut Vec<f16>) -> Result<(), BadElement> {
    out.clear();
    out.reserve_exact(values.len());
    blocks(values, out, |value| value)
}

fn blocks<T: Copy>(elements: &[T], out: &mut Vec<f16>, read: impl Fn(T) -> f32) -> Result<(), BadElement> {
    let mut wide = [0.0; BLOCK];
    let mut narrow = [f16::ZERO; BLOCK];
    for block in elements.chunks(BLOCK) {
        let (wide, narrow) = (wide.split_at_mut(block.len()).0, narrow.split_at_mut(block.len()).0);
        for (value, bytes) in wide.iter_mut().zip(block) {
            *value = read(*bytes);
        }
        // Infinities and NaN have larger bits than every finite magnitude. No early exit, so that the loop vectorizes.
        let bad = |value: &f32| value.to_bits() & MAGNITUDE >= OVERFLOW.to_bits();
        if wide.iter().fold(false, |any, value| any | bad(value)) {
            let found = wide.iter().enumerate().find(|(_, value)| bad(value));
            let (index, value) = found.map_or((0, f32::NAN), |(index, value)| (index, *value));
            return Err(BadElement { index: out.len() + index, value });
        }
        narrow.convert_from_f32_slice(wide);
        out.extend_from_slice(narrow);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn convert(dtype: SourceDtype, bytes: &[u8]) -> Result<Vec<f16>, BadElement> {
        let mut out = vec![f16::ONE];
        to_f16(dtype, bytes, &mut out)?;
        Ok(out)
    }

    #[test]
    fn every_bf16_converts_as_the_scalar_conversion_does_or_is_refused() {
        for bits in 0..=u16::MAX {
            let source = bf16::from_bits(bits);
            let expected = f16::from_f32(source.to_f32());
            match convert(SourceDtype::BF16, &bits.to_le_bytes()) {
                Ok(values) => assert_eq!(values, [expected], "{source}"),
                Err(BadElement { index, value }) => {
                    assert!(!expected.is_finite(), "{source}");
                    assert!(
                        index == 0 && value.total_cmp(&source.to_f32()).is_eq() || value.is_nan() && source.is_nan()
                    );
                }
            }
        }
    }

    #[test]
    fn fp32_rounds_to_nearest_even_and_overflows_from_65520() {
        let bytes = |value: f32| value.to_le_bytes();
        assert_eq!(convert(SourceDtype::F32, &bytes(2049.0)), Ok(vec![f16::from_f32(2048.0)]));
        assert_eq!(convert(SourceDtype::F32, &bytes(2051.0)), Ok(vec![f16::from_f32(2052.0)]));
        assert_eq!(convert(SourceDtype::F32, &bytes(65519.99)), Ok(vec![f16::MAX]));
        assert_eq!(convert(SourceDtype::F32, &bytes(-65520.0)), Err(BadElement { index: 0, value: -65520.0 }));
        assert_eq!(convert(SourceDtype::F32, &bytes(6e-8)), Ok(vec![f16::from_bits(1)]));
    }

    #[test]
    fn every_source_dtype_widens_to_f32_exactly_and_must_be_finite() {
        let mut out = vec![1.0];
        let mut widened = |dtype, bytes: &[u8]| to_f32(dtype, bytes, &mut out).map(|()| out.clone());
        assert_eq!(
            widened(SourceDtype::BF16, &bf16::from_f32(-1e30).to_le_bytes()),
            Ok(vec![bf16::from_f32(-1e30).to_f32()])
        );
        assert_eq!(widened(SourceDtype::F16, &f16::MIN_POSITIVE_SUBNORMAL.to_le_bytes()), Ok(vec![2.0_f32.powi(-24)]));
        assert_eq!(widened(SourceDtype::F32, &1e-30_f32.to_le_bytes()), Ok(vec![1e-30]));
        let bad = [1.0_f32, f32::INFINITY].map(f32::to_le_bytes).concat();
        assert_eq!(widened(SourceDtype::F32, &bad), Err(BadElement { index: 1, value: f32::INFINITY }));
    }

    #[test]
    fn fp16_passes_bit_for_bit() {
        let bits: Vec<u8> = (0..0x7c00_u16).flat_map(u16::to_le_bytes).collect();
        let values = convert(SourceDtype::F16, &bits).expect("finite");
        assert!(values.iter().enumerate().all(|(index, value)| usize::from(value.to_bits()) == index));
        assert!(convert(SourceDtype::F16, &0x7c00_u16.to_le_bytes()).is_err());
    }

    #[test]
    fn the_position_of_a_bad_element_counts_over_blocks() {
        let mut values = vec![0.5_f32; 3 * BLOCK + 7];
        values[2 * BLOCK + 5] = f32::NEG_INFINITY;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(
            convert(SourceDtype::F32, &bytes),
            Err(BadElement { index: 2 * BLOCK + 5, value: f32::NEG_INFINITY })
        );
    }
}
