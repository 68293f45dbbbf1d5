//! fp16 to f32, several at a time.

use pulp::{Arch, NullaryFnOnce};

/// Widens little-endian fp16, exactly, as many as there are of both.
pub(in crate::evaluate) fn widen(bytes: &[u8], output: &mut [f32]) {
    Arch::new().dispatch(Widen { bytes, output });
}

/// The work of [`widen`], compiled for each instruction set, which a closure need not be.
struct Widen<'a> {
    bytes: &'a [u8],
    output: &'a mut [f32],
}

impl NullaryFnOnce for Widen<'_> {
    type Output = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of the caller")]
    fn call(self) {
        for (output, pair) in self.output.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
            *output = widen_one(u16::from_le_bytes(*pair));
        }
    }
}

/// One fp16 as f32, without branches, so that compilers can do several at once.
#[inline(always)]
fn widen_one(half: u16) -> f32 {
    const EXPONENT: u32 = 0x0f80_0000;
    let half = u32::from(half);
    let magnitude = (half & 0x7fff) << 13;
    // Moving the exponent's bias by a product also normalizes subnormals; 2^112 is exact.
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = f32::from_bits(magnitude | 0x7f80_0000);
    let value = if magnitude >= EXPONENT { special } else { scaled };
    f32::from_bits(value.to_bits() | (half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fp16_is_widened_exactly() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut output = vec![0.0; 1 << 16];
        widen(&bytes, &mut output);
        for (bits, value) in (0..=u16::MAX).zip(output) {
            let expected = half::f16::from_bits(bits).to_f32();
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }
}
