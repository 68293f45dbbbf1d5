//! Dot products.

use pulp::Simd;

/// Vectors of partial sums: enough to keep a machine's multipliers busy.
const SUMS: usize = 4;

/// The dot product of two vectors of one length.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of `simd`")]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let ((a_blocks, a), (b_blocks, b)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = simd.mul_add_e_f32s(*a, *b, *sum);
        }
    }
    let [first, second, third, fourth] = sums;
    let mut sum = simd.add_f32s(simd.add_f32s(first, second), simd.add_f32s(third, fourth));
    for (a, b) in a.iter().zip(b) {
        sum = simd.mul_add_e_f32s(*a, *b, sum);
    }
    let rest = simd.mul_add_e_f32s(simd.partial_load_f32s(a_rest), simd.partial_load_f32s(b_rest), sum);
    simd.reduce_sum_f32s(rest)
}
