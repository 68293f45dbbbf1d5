//! Keys of a group without those that cannot occur in it.
//!
//! Weights that were bf16, which has seven bits of fraction, have three zero bits at the end as fp16, as long as they are normal
//! numbers. A group of them has an eighth of the keys of all fp16 numbers, so its tables fit the first-level cache.

use half::f16;

use crate::float::{FRACTION_BITS, SIGN, ZERO_KEY, about_zero};

/// The bits of the smallest normal number: magnitudes below are numbered one by one.
const NORMAL: u16 = 1 << FRACTION_BITS;

/// Places for all values of a group, in the order of the values, about [`ZERO_KEY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Bits at the end of the fraction that are zero in every normal number.
    zero_bits: u16,
}

impl Grid {
    /// The coarsest on which all these finite values are.
    pub(crate) fn of(values: &[f16]) -> Self {
        let normal = |value: &f16| {
            let magnitude = value.to_bits() & !SIGN;
            if magnitude >= NORMAL { magnitude } else { 0 }
        };
        let bits = values.iter().map(normal).fold(0, |any, bits| any | bits);
        let zero_bits = bits.trailing_zeros().min(u32::from(FRACTION_BITS));
        Self { zero_bits: u16::try_from(zero_bits).unwrap_or_default() }
    }

    /// The place of a value on the grid; of another, that of the next one towards zero.
    #[inline]
    pub(crate) fn place(self, value: f16) -> u16 {
        let magnitude = value.to_bits() & !SIGN;
        let beyond = magnitude.saturating_sub(NORMAL);
        about_zero(value, magnitude - beyond + (beyond >> self.zero_bits))
    }

    /// The key of the value at a place.
    #[inline]
    pub(crate) fn key(self, place: u16) -> u16 {
        let distance = place.abs_diff(ZERO_KEY);
        let beyond = distance.saturating_sub(NORMAL);
        let magnitude = distance - beyond + (beyond << self.zero_bits);
        if place < ZERO_KEY { ZERO_KEY - magnitude } else { ZERO_KEY + magnitude }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::float::key;

    /// Every finite fp16 number that is a bf16 number too, or is not normal.
    fn coarse() -> Vec<f16> {
        let finite = (0..=u16::MAX).map(f16::from_bits).filter(|value| value.is_finite());
        let is_coarse = |value: &f16| !value.is_normal() || bf16::from_f32(value.to_f32()).to_f32() == value.to_f32();
        finite.filter(is_coarse).collect()
    }

    #[test]
    fn places_have_the_order_of_the_values_and_lead_back_to_their_keys() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|value| value.is_finite()).collect();
        for (values, zero_bits) in [(all, 0), (coarse(), 3), (vec![f16::ONE, f16::from_f32(-1.5)], 9), (vec![], 10)] {
            let grid = Grid::of(&values);
            assert_eq!(grid, Grid { zero_bits });
            for value in &values {
                assert_eq!(grid.key(grid.place(*value)), key(*value), "{value}");
            }
            let mut sorted = values;
            sorted.sort_by_key(|value| key(*value));
            assert!(sorted.is_sorted_by_key(|value| grid.place(*value)));
        }
    }

    #[test]
    fn a_coarse_group_has_few_places() {
        let grid = Grid::of(&coarse());
        assert_eq!(grid.place(f16::MAX) - ZERO_KEY, NORMAL + ((f16::MAX.to_bits() - NORMAL) >> 3));
        assert_eq!(grid.place(f16::NEG_ZERO), grid.place(f16::ZERO));
    }
}
