//! Exponentials over their sum.

use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::PARALLEL_FLOATS;

/// Divides the exponentials of each lane of `length` values by their sum. The values of a lane are `inner` apart, so that
/// as many lanes are interleaved. A lane that holds what is not a number, or only negative infinities, becomes what is not
/// a number.
pub fn softmax(values: &mut [f32], length: usize, inner: usize) {
    let part = length * inner;
    if part == 0 {
        return;
    }
    let parts = values.par_chunks_exact_mut(part).with_min_len(PARALLEL_FLOATS.div_ceil(part));
    if inner == 1 {
        parts.for_each(|lane| {
            Softmax::new_mut(lane).dispatch();
        });
        return;
    }
    parts.for_each_init(Vec::new, |lane, part| {
        for first in 0..inner {
            lane.clear();
            lane.extend(part.iter().skip(first).step_by(inner));
            Softmax::new_mut(lane).dispatch();
            part.iter_mut().skip(first).step_by(inner).zip(lane.iter()).for_each(|(to, from)| *to = *from);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_lanes_are_told_apart() {
        let third = 2.0_f32.ln();
        let mut values = [0.0, third, third, 0.0, third, third, 0.0, 0.0];
        softmax(&mut values, 2, 2);
        let expected = [1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0];
        for (found, expected) in values.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = [0.0; 19];
            values[7] = bad;
            softmax(&mut values, 19, 1);
            assert!(values.iter().all(|value| value.is_nan()), "{bad}: {values:?}");
        }
        let mut masked = [f32::NEG_INFINITY; 9];
        softmax(&mut masked, 9, 1);
        assert!(masked.iter().all(|value| value.is_nan()), "{masked:?}");
    }
}
