//! Entries of a palette's table, by indices that are packed from the low bits up.

use crate::evaluate::packed::sub_byte;

/// Writes the entries of `table` that the indices from `start` on, of `bits` bits each, name; 0 for those that it does not
/// have.
pub(crate) fn look_up(table: &[f32], indices: &[u8], bits: usize, start: usize, output: &mut [f32]) {
    match (bits, start % 4) {
        (4, 0 | 2) => nibbles(&padded(table), indices.get(start / 2..).unwrap_or_default(), output),
        (6, 0) => sixes(&padded(table), indices.get(start / 4 * 3..).unwrap_or_default(), output),
        (8, _) => {
            for (output, index) in output.iter_mut().zip(indices.get(start..).unwrap_or_default()) {
                *output = entry(table, *index);
            }
        }
        _ => one_by_one(table, indices, bits, start, output),
    }
}

fn padded<const N: usize>(table: &[f32]) -> [f32; N] {
    let mut entries = [0.0; N];
    entries.iter_mut().zip(table).for_each(|(to, from)| *to = *from);
    entries
}

fn entry(table: &[f32], index: u8) -> f32 {
    table.get(usize::from(index)).copied().unwrap_or(0.0)
}

fn one_by_one(table: &[f32], indices: &[u8], bits: usize, start: usize, output: &mut [f32]) {
    for (offset, output) in output.iter_mut().enumerate() {
        *output = entry(table, sub_byte(indices, bits, start + offset).unwrap_or(0));
    }
}

/// Two elements a byte.
fn nibbles(table: &[f32; 16], bytes: &[u8], output: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(avx2::Nibbles { simd, table, bytes, output });
    }
    let (pairs, last) = output.as_chunks_mut::<2>();
    for (output, byte) in pairs.iter_mut().zip(bytes) {
        *output = [entry(table, byte & 15), entry(table, byte >> 4)];
    }
    one_by_one(table, bytes, 4, pairs.len() * 2, last);
}

/// Four elements in three bytes.
fn sixes(table: &[f32; 64], bytes: &[u8], output: &mut [f32]) {
    let (quads, rest) = output.as_chunks_mut::<4>();
    for (output, [a, b, c]) in quads.iter_mut().zip(bytes.as_chunks::<3>().0) {
        let word = u32::from_le_bytes([*a, *b, *c, 0]);
        *output = [0, 6, 12, 18].map(|shift| table[(word >> shift & 63) as usize]);
    }
    one_by_one(table, bytes, 6, quads.len() * 4, rest);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use pulp::NullaryFnOnce;
    use pulp::x86::V3;

    /// Eight indices of four bits at a time: the table fits two registers, whose lanes are permuted.
    pub(super) struct Nibbles<'a> {
        pub(super) simd: V3,
        pub(super) table: &'a [f32; 16],
        pub(super) bytes: &'a [u8],
        pub(super) output: &'a mut [f32],
    }

    impl NullaryFnOnce for Nibbles<'_> {
        type Output = ();

        #[inline(always)]
        #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of `simd`")]
        fn call(self) {
            let Self { simd: V3 { avx, avx2, .. }, table, bytes, output } = self;
            let [low, high] = pulp::cast(*table);
            // Permutations look at the lowest three bits of a lane, and the choice between their results at its highest.
            let to_lowest = pulp::cast([0, 4, 8, 12, 16, 20, 24, 28]);
            let to_highest = pulp::cast([28, 24, 20, 16, 12, 8, 4, 0]);
            let (blocks, rest) = output.as_chunks_mut::<8>();
            for (output, word) in blocks.iter_mut().zip(bytes.as_chunks::<4>().0) {
                let word = avx._mm256_set1_epi32(i32::from_le_bytes(*word));
                let index = avx2._mm256_srlv_epi32(word, to_lowest);
                let is_high = avx._mm256_castsi256_ps(avx2._mm256_sllv_epi32(word, to_highest));
                let entries = avx._mm256_blendv_ps(
                    avx2._mm256_permutevar8x32_ps(low, index),
                    avx2._mm256_permutevar8x32_ps(high, index),
                    is_high,
                );
                *output = pulp::cast(entries);
            }
            super::one_by_one(table, bytes, 4, blocks.len() * 8, rest);
        }
    }
}
