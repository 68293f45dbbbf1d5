//! The notch: sizes of weights that the Neural Engine reads at a third of its speed.
//!
//! Each of the 16 cores reads its share of the output channels. Where that share is close to a multiple of 1 MiB, the
//! prefetch ring of the DMA unit looks empty when it is full, and the read speed drops from 45-60 GB/s to 17-19 GB/s.
//! Splitting the weight, along output or input channels alike, moves the share off the multiple.
//!
//! # Source
//! E. Yoon, eiln.github.io/posts/ane-dma.html (M3, M4); stablehlo-coreml PR 110; kasper0406/gemma-coreml-chat (M4 Pro,
//! int8, width of the band). The share of a palettized weight is not measured; it is taken to be that of its indices.

use std::fmt;

use super::chip::{Chip, DmaNotch};
use super::weight::ConvolutionWeight;

/// Cores that share a weight.
pub const CORES: u64 = 16;

/// Distance between notches.
pub const PERIOD: u64 = 1 << 20;

/// Farthest distance from a multiple at which the speed is below normal, to both sides.
pub const REACH: u64 = 16 << 10;

/// Distance below a multiple up to which the speed is at its lowest.
const FLOOR_BELOW: u64 = 12 << 10;

/// Distance above a multiple up to which the speed is at its lowest; from here to [`REACH`] it recovers.
const FLOOR_ABOVE: u64 = 8 << 10;

/// Distance from a multiple that a planner keeps where it has a choice.
pub const GUARD: u64 = 64 << 10;

/// A payload that is on a notch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotchHit {
    /// The payload, in bytes per core.
    pub payload_bytes: u64,
    /// Which multiple of [`PERIOD`] it is at; at least 1.
    pub multiple: u64,
    /// Bytes above the multiple, or below it where negative.
    pub distance: i64,
    /// Whether the speed is only partly lost.
    pub edge: bool,
}

/// Bytes that one core reads of a convolution's weight: its share of the output channels, in the stored form.
///
/// `in_channels` are those of one group, `kernel` is the product of the kernel's axes, `bits` are those of one stored
/// weight: 16 for fp16, 8 for int8. Saturates.
///
/// # Example
/// ```
/// use anec_mil::rules::notch;
///
/// assert_eq!(notch::payload_bytes(4096, 4096, 1, 16), 2 << 20);
/// ```
pub fn payload_bytes(out_channels: u64, in_channels: u64, kernel: u64, bits: u64) -> u64 {
    let weights = out_channels.div_ceil(CORES).saturating_mul(in_channels).saturating_mul(kernel);
    weights.saturating_mul(bits).div_ceil(8)
}

/// The notch that `payload_bytes` per core is on, on `chip`.
pub fn on_notch(payload_bytes: u64, chip: Chip) -> Option<NotchHit> {
    if chip.facts().dma_notch == DmaNotch::ReportedAbsent {
        return None;
    }
    let (multiple, above, below) = nearest_multiple(payload_bytes);
    if multiple == 0 || above.max(below) > REACH {
        return None;
    }
    let distance = i64::try_from(above).unwrap_or(0) - i64::try_from(below).unwrap_or(0);
    Some(NotchHit { payload_bytes, multiple, distance, edge: above > FLOOR_ABOVE || below > FLOOR_BELOW })
}

/// The notch that the weight of a convolution is on, on `chip`.
pub fn of_weight(weight: &ConvolutionWeight, chip: Chip) -> Option<NotchHit> {
    let bits = weight.stored.bits;
    on_notch(payload_bytes(weight.out_channels, weight.in_channels, weight.kernel, bits), chip)
}

impl fmt::Display for NotchHit {
    /// Writes the payload by its distance from the multiple, such as `2 MiB - 4.0 KiB`.
    #[expect(clippy::cast_precision_loss, reason = "at most 16 KiB; one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.multiple)?;
        if self.distance == 0 {
            return Ok(());
        }
        let sign = if self.distance < 0 { '-' } else { '+' };
        write!(f, " {sign} {:.1} KiB", self.distance.unsigned_abs() as f64 / 1024.0)
    }
}

/// Whether `payload_bytes` per core keeps [`GUARD`] from every notch, or the chip has none.
pub fn is_clear(payload_bytes: u64, chip: Chip) -> bool {
    let (multiple, above, below) = nearest_multiple(payload_bytes);
    chip.facts().dma_notch == DmaNotch::ReportedAbsent || multiple == 0 || above.max(below) > GUARD
}

/// The multiple of [`PERIOD`] that is nearest, and how many bytes `payload_bytes` is above and below it.
fn nearest_multiple(payload_bytes: u64) -> (u64, u64, u64) {
    let (multiple, rest) = (payload_bytes / PERIOD, payload_bytes % PERIOD);
    if rest > PERIOD / 2 { (multiple + 1, 0, PERIOD - rest) } else { (multiple, rest, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    /// Output channels, input channels, MiB per core in thousandths as printed, on the notch in fp16, in int8.
    type Row = (&'static str, u64, u64, &'static str, bool, bool);

    /// The convolutions of published models, computed by hand from their configurations.
    const MODELS: &[Row] = &[
        ("Qwen2.5-0.5B q", 896, 896, "0.096", false, false),
        ("Qwen2.5-0.5B k", 128, 896, "0.014", false, false),
        ("Qwen2.5-0.5B gate", 4864, 896, "0.520", false, false),
        ("Qwen2.5-0.5B down", 896, 4864, "0.520", false, false),
        ("Qwen2.5-0.5B head 16384", 16384, 896, "1.750", false, false),
        ("Qwen2.5-1.5B q", 1536, 1536, "0.281", false, false),
        ("Qwen2.5-1.5B k", 256, 1536, "0.047", false, false),
        ("Qwen2.5-1.5B gate", 8960, 1536, "1.641", false, false),
        ("Qwen2.5-1.5B head 16384", 16384, 1536, "3.000", true, false),
        ("Qwen2.5-1.5B head 16-way", 9496, 1536, "1.740", false, false),
        ("Qwen2.5-3B q", 2048, 2048, "0.500", false, false),
        ("Qwen2.5-3B k", 256, 2048, "0.062", false, false),
        ("Qwen2.5-3B gate", 11008, 2048, "2.688", false, false),
        ("Qwen2.5-3B head 16384", 16384, 2048, "4.000", true, true),
        ("Qwen2.5-3B head 16-way", 9496, 2048, "2.320", false, false),
        ("Qwen2.5-7B q", 3584, 3584, "1.531", false, false),
        ("Qwen2.5-7B k", 512, 3584, "0.219", false, false),
        ("Qwen2.5-7B gate", 18944, 3584, "8.094", false, false),
        ("Qwen2.5-7B head 16384", 16384, 3584, "7.000", true, false),
        ("Qwen2.5-7B head 16-way", 9504, 3584, "4.061", false, false),
        ("Qwen3-0.6B q", 2048, 1024, "0.250", false, false),
        ("Qwen3-0.6B k", 1024, 1024, "0.125", false, false),
        ("Qwen3-0.6B o", 1024, 2048, "0.250", false, false),
        ("Qwen3-0.6B gate", 3072, 1024, "0.375", false, false),
        ("Qwen3-0.6B head 16384", 16384, 1024, "2.000", true, true),
        ("Qwen3-0.6B head 16-way", 9496, 1024, "1.160", false, false),
        ("Qwen3-1.7B q", 2048, 2048, "0.500", false, false),
        ("Qwen3-1.7B k", 1024, 2048, "0.250", false, false),
        ("Qwen3-1.7B gate", 6144, 2048, "1.500", false, false),
        ("Qwen3-1.7B head 16384", 16384, 2048, "4.000", true, true),
        ("Qwen3-1.7B head 16-way", 9496, 2048, "2.320", false, false),
        ("Qwen3-4B q", 4096, 2560, "1.250", false, false),
        ("Qwen3-4B k", 1024, 2560, "0.312", false, false),
        ("Qwen3-4B gate", 9728, 2560, "2.969", false, false),
        ("Qwen3-4B down", 2560, 9728, "2.969", false, false),
        ("Qwen3-4B head 16384", 16384, 2560, "5.000", true, false),
        ("Qwen3-4B head 16-way", 9496, 2560, "2.900", false, false),
        ("Qwen3-8B q", 4096, 4096, "2.000", true, true),
        ("Qwen3-8B k", 1024, 4096, "0.500", false, false),
        ("Qwen3-8B gate", 12288, 4096, "6.000", true, true),
        ("Qwen3-8B down", 4096, 12288, "6.000", true, true),
        ("Qwen3-8B head 16384", 16384, 4096, "8.000", true, true),
        ("Qwen3-8B head 16-way", 9496, 4096, "4.641", false, false),
        ("Llama-3.2-1B q", 2048, 2048, "0.500", false, false),
        ("Llama-3.2-1B k", 512, 2048, "0.125", false, false),
        ("Llama-3.2-1B gate", 8192, 2048, "2.000", true, true),
        ("Llama-3.2-1B down", 2048, 8192, "2.000", true, true),
        ("Llama-3.2-1B head 16384", 16384, 2048, "4.000", true, true),
        ("Llama-3.2-1B head 16-way", 8016, 2048, "1.957", false, false),
        ("Llama-3.2-3B q", 3072, 3072, "1.125", false, false),
        ("Llama-3.2-3B k", 1024, 3072, "0.375", false, false),
        ("Llama-3.2-3B gate", 8192, 3072, "3.000", true, false),
        ("Llama-3.2-3B head 16384", 16384, 3072, "6.000", true, true),
        ("Llama-3.2-3B head 16-way", 8016, 3072, "2.936", false, false),
        ("Llama-3.1-8B q", 4096, 4096, "2.000", true, true),
        ("Llama-3.1-8B k", 1024, 4096, "0.500", false, false),
        ("Llama-3.1-8B gate", 14336, 4096, "7.000", true, false),
        ("Llama-3.1-8B head 16384", 16384, 4096, "8.000", true, true),
        ("Llama-3.1-8B head 16-way", 8016, 4096, "3.914", false, false),
        ("Mistral-7B head 16-way", 2048, 4096, "1.000", true, false),
        ("Llama-2-7B q", 4096, 4096, "2.000", true, true),
        ("Llama-2-7B gate", 11008, 4096, "5.375", false, false),
        ("Llama-2-7B head 16384", 16384, 4096, "8.000", true, true),
        ("Llama-2-7B head 16-way", 2000, 4096, "0.977", false, false),
        ("TinyLlama-1.1B q", 2048, 2048, "0.500", false, false),
        ("TinyLlama-1.1B k", 256, 2048, "0.062", false, false),
        ("TinyLlama-1.1B gate", 5632, 2048, "1.375", false, false),
        ("TinyLlama-1.1B head 16384", 16384, 2048, "4.000", true, true),
        ("TinyLlama-1.1B head 16-way", 2000, 2048, "0.488", false, false),
    ];

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "three decimals are compared")]
    fn convolutions_of_published_models_are_on_the_notch_where_the_literature_has_them() {
        for (name, out_channels, in_channels, mebibytes, fp16, int8) in MODELS {
            let payload = payload_bytes(*out_channels, *in_channels, 1, 16);
            assert_eq!(format!("{:.3}", payload as f64 / PERIOD as f64), *mebibytes, "{name}");
            assert_eq!(on_notch(payload, Chip::Generic).is_some(), *fp16, "{name} in fp16");
            let payload = payload_bytes(*out_channels, *in_channels, 1, 8);
            assert_eq!(on_notch(payload, Chip::Generic).is_some(), *int8, "{name} in int8");
        }
    }

    #[test]
    fn heads_of_16384_rows_are_on_the_notch_when_512_divides_the_hidden_size() {
        for hidden_size in (512..=8192).step_by(512) {
            let payload = payload_bytes(16_384, hidden_size, 1, 16);
            assert!(on_notch(payload, Chip::Generic).is_some(), "{hidden_size}");
        }
        for hidden_size in (576..8192).step_by(512) {
            let payload = payload_bytes(16_384, hidden_size, 1, 16);
            assert!(on_notch(payload, Chip::Generic).is_none(), "{hidden_size}");
        }
    }

    #[test]
    fn a_sixteenth_of_the_head_of_qwen25_05b_is_at_the_edge() {
        let payload = payload_bytes(9496, 896, 1, 16);
        assert_eq!(payload, 1_064_448);
        let hit = on_notch(payload, Chip::M4).expect("within 16 KiB");
        assert_eq!((hit.multiple, hit.distance, hit.edge), (1, 15_872, true));
    }

    #[test]
    fn int8_heads_behave_as_measured_on_m4_pro() {
        let eight = payload_bytes(262_144 / 8, 1536, 1, 8);
        let nine = payload_bytes(262_144_u64.div_ceil(9), 1536, 1, 8);
        assert_eq!(eight, 3 * PERIOD);
        assert!(on_notch(eight, Chip::M4Pro).is_some_and(|hit| !hit.edge));
        assert!(on_notch(nine, Chip::M4Pro).is_none());
        assert!(is_clear(nine, Chip::M4Pro) && !is_clear(eight, Chip::M4Pro));
    }

    #[test]
    fn the_band_reaches_16_kib_to_both_sides_of_each_multiple_but_zero() {
        for multiple in [1, 2, 100] {
            let center = multiple * PERIOD;
            for (payload, edge) in [
                (center - 16 * KIB - 1, None),
                (center - 16 * KIB, Some(true)),
                (center - 12 * KIB, Some(false)),
                (center, Some(false)),
                (center + 8 * KIB, Some(false)),
                (center + 16 * KIB, Some(true)),
                (center + 16 * KIB + 1, None),
            ] {
                assert_eq!(on_notch(payload, Chip::Generic).map(|hit| hit.edge), edge, "{payload}");
            }
        }
        for payload in [0, 1, REACH, PERIOD / 2] {
            assert_eq!(on_notch(payload, Chip::Generic), None, "{payload}");
        }
    }

    #[test]
    fn chips_reported_free_of_it_have_no_notch() {
        for chip in [Chip::M1, Chip::M5Max] {
            assert_eq!(on_notch(PERIOD, chip), None);
            assert!(is_clear(PERIOD, chip));
        }
    }

    #[test]
    fn hostile_shapes_do_not_overflow() {
        assert!(payload_bytes(u64::MAX, u64::MAX, u64::MAX, u64::MAX) > 0);
        assert!(on_notch(u64::MAX, Chip::Generic).is_some());
        assert!(!is_clear(u64::MAX, Chip::Generic));
    }
}
