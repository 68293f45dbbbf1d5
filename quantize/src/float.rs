//! fp16 numbers as sortable keys, as integers and as `f32`.

use half::f16;
use pulp::{Arch, NullaryFnOnce};

/// Number of keys.
pub(crate) const KEYS: usize = 1 << 16;

/// The key of both zeros.
pub(crate) const ZERO_KEY: u16 = 1 << 15;

/// Every finite fp16 number is a whole multiple of this, 2^-24: the smallest subnormal.
///
/// # Source
/// IEEE 754-2019, table 3.5, binary16.
pub(crate) const UNIT: f64 = 1.0 / 16_777_216.0;

pub(crate) const SIGN: u16 = 0x8000;
pub(crate) const FRACTION_BITS: u16 = 10;

/// The key of a value: an integer in the order of the values. Both zeros have the same.
#[inline]
pub(crate) fn key(value: f16) -> u16 {
    about_zero(value, value.to_bits() & !SIGN)
}

/// The key of zero with a distance that has the sign of a value.
#[inline]
pub(crate) fn about_zero(value: f16, distance: u16) -> u16 {
    // All ones for negative values: distances count down from the key of zero.
    let negative = 0_u16.wrapping_sub(value.to_bits() >> 15);
    ZERO_KEY.wrapping_add((distance ^ negative).wrapping_sub(negative))
}

/// The value of a key.
#[inline]
pub(crate) fn value(key: u16) -> f16 {
    f16::from_bits(if key >= SIGN { key - SIGN } else { SIGN | (SIGN - key) })
}

/// The value of a key in multiples of [`UNIT`], exactly.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "11 significant bits")]
pub(crate) fn units(key: u16) -> f64 {
    let magnitude = key.abs_diff(SIGN);
    let exponent = magnitude >> FRACTION_BITS;
    let fraction = magnitude & ((1 << FRACTION_BITS) - 1);
    let significand = i64::from(fraction) | (i64::from(exponent > 0) << FRACTION_BITS);
    let shifted = significand << exponent.saturating_sub(1);
    (if key < SIGN { -shifted } else { shifted }) as f64
}

/// The `f32` of a finite value, exactly. Unlike the conversion of `half`, it becomes vector instructions.
#[inline]
pub(crate) fn widen(value: f16) -> f32 {
    // The exponent biases, 127 and 15, differ by 112.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(value.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | ((bits & 0x8000) << 16))
}

/// The `f32` of finite values, exactly.
///
/// # Panics
/// There are not as many places as values.
pub fn widen_all(values: &[f16], wide: &mut [f32]) {
    assert_eq!(values.len(), wide.len(), "a place for each value");
    Arch::new().dispatch(Widen { values, wide });
}

/// The work of [`widen_all`], compiled for each instruction set.
struct Widen<'a> {
    values: &'a [f16],
    wide: &'a mut [f32],
}

impl NullaryFnOnce for Widen<'_> {
    type Output = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of the caller")]
    fn call(self) {
        self.wide.iter_mut().zip(self.values).for_each(|(wide, value)| *wide = widen(*value));
    }
}

/// Whether no value is infinite or not a number.
pub(crate) fn all_finite(values: &[f16]) -> bool {
    largest_magnitude(values).is_finite()
}

/// The largest magnitude; infinite or not a number if one of the values is. Zero for none.
pub(crate) fn largest_magnitude(values: &[f16]) -> f16 {
    // Magnitudes have the order of their bits.
    // A fold becomes vector instructions where the comparison that `max` calls may stay a call.
    f16::from_bits(values.iter().map(|value| value.to_bits() & !SIGN).fold(0, u16::max))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "conversions are exact")]

    use super::*;

    #[test]
    fn keys_units_and_widened_values_agree_for_all_finite_numbers() {
        let finite = (0..=u16::MAX).map(f16::from_bits).filter(|value| value.is_finite());
        for number in finite {
            assert_eq!(value(key(number)), number);
            assert_eq!(units(key(number)) * UNIT, number.to_f64());
            let mut wide = [0.0];
            widen_all(&[number], &mut wide);
            assert_eq!([widen(number), wide[0]], [number.to_f32(); 2]);
        }
        assert_eq!(key(f16::NEG_ZERO), key(f16::ZERO));
        assert!((0x400..=0xfbff_u16).all(|at| units(at - 1) < units(at)));
    }
}
