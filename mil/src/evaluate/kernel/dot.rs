//! Dot products, in an order of summation that does not depend on the machine.

/// Partial sums that are kept apart: enough to fill the registers of every instruction set.
const LANES: usize = 32;

/// The dot product of two vectors of one length.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the caller's instruction set")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        add_products(&mut sums, a, b);
    }
    // Sums that are indexed by a variable would be kept in memory instead of registers.
    add_products(&mut sums, &padded(a_rest), &padded(b_rest));
    let [sum] = halved::<2, 1>(&halved::<4, 2>(&halved::<8, 4>(&halved::<16, 8>(&halved::<LANES, 16>(&sums)))));
    sum
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the caller's instruction set")]
fn add_products(sums: &mut [f32; LANES], a: &[f32; LANES], b: &[f32; LANES]) {
    for lane in 0..LANES {
        sums[lane] += a[lane] * b[lane];
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the caller's instruction set")]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut block = [0.0; LANES];
    block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    block
}

/// The sums of the first half and the second.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the caller's instruction set")]
fn halved<const N: usize, const HALF: usize>(sums: &[f32; N]) -> [f32; HALF] {
    std::array::from_fn(|lane| sums[lane] + sums[lane + HALF])
}
