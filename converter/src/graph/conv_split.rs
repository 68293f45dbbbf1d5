//! How convolutions are split, so that the Neural Engine takes them and reads their weights at full speed.
//!
//! A convolution that is split along its input channels is a sum: each part multiplies some of the channels, and the
//! results are added. An MLP of more channels than the chip takes is a sum as well, of smaller MLPs. The parts are as few
//! and as even as can be.

use std::ops::Range;

use anec_mil::rules::limits::WEIGHT_BYTES;
use anec_mil::rules::{Chip, notch};

use crate::options::{ConvSplits, Options};

/// What the channels of every part but the last are a multiple of: 64 bytes of fp16, the alignment of the Neural Engine.
const CHANNEL_MULTIPLE: u64 = 32;

/// The most parts that are tried; more would only be needed beyond 4 GiB of weights in one convolution.
const MAX_PARTS: u64 = 32;

/// Bits of a weight that has no palette.
const PLAIN_BITS: u64 = 16;

/// Decides how convolutions are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvSplitter {
    /// The chip, or none where nothing is to be split.
    chip: Option<Chip>,
}

/// Why a convolution is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its weight is on the notch: bytes that each core reads.
    Notch { payload_bytes: u64 },
    /// Its weight is too large: its bytes.
    Size { bytes: u64 },
}

impl ConvSplitter {
    pub(crate) fn new(options: &Options) -> Self {
        let splits = options.conv_splits == ConvSplits::Auto && options.target.is_neural_engine();
        Self { chip: splits.then_some(options.chip) }
    }

    /// The input channels of each part of a 1×1 convolution with a palette of `palette_bits`; one part where it needs no
    /// splitting.
    pub(crate) fn parts(self, out_channels: u64, in_channels: u64, palette_bits: Option<u8>) -> Vec<Range<u64>> {
        let whole = || whole(in_channels);
        let Some(chip) = self.chip else { return whole() };
        let bits = palette_bits.map_or(PLAIN_BITS, u64::from);
        if self.cause(out_channels, in_channels, palette_bits).is_none() {
            return whole();
        }
        let fits = |parts: &Vec<Range<u64>>, clear: fn(u64, Chip) -> bool| {
            parts.iter().all(|part| {
                let channels = part.end - part.start;
                clear(notch::payload_bytes(out_channels, channels, 1, bits), chip)
                    && bytes(out_channels, channels, bits) <= WEIGHT_BYTES
            })
        };
        let candidates = || (2..=MAX_PARTS).filter_map(|count| even_parts(in_channels, count));
        let off = |payload, chip| notch::on_notch(payload, chip).is_none();
        candidates()
            .find(|parts| fits(parts, notch::is_clear))
            .or_else(|| candidates().find(|parts| fits(parts, off)))
            .unwrap_or_else(whole)
    }

    /// The channels of each part of an MLP.
    pub(crate) fn mlp_parts(self, channels: u64) -> Vec<Range<u64>> {
        let count = match self.chip {
            Some(chip) => channels.div_ceil(chip.facts().max_head_rows),
            None => 1,
        };
        even_parts(channels, count.max(1)).unwrap_or_else(|| whole(channels))
    }

    /// Why a convolution has to be split, if it has to.
    pub(crate) fn cause(self, out_channels: u64, in_channels: u64, palette_bits: Option<u8>) -> Option<Cause> {
        let bits = palette_bits.map_or(PLAIN_BITS, u64::from);
        let payload_bytes = notch::payload_bytes(out_channels, in_channels, 1, bits);
        let size = bytes(out_channels, in_channels, bits);
        if notch::on_notch(payload_bytes, self.chip?).is_some() {
            Some(Cause::Notch { payload_bytes })
        } else if size > WEIGHT_BYTES {
            Some(Cause::Size { bytes: size })
        } else {
            None
        }
    }
}

/// All channels in one part.
fn whole(channels: u64) -> Vec<Range<u64>> {
    std::iter::once(0..channels).collect()
}

/// `count` parts in whole multiples, the larger first; none where there are not enough channels.
fn even_parts(in_channels: u64, count: u64) -> Option<Vec<Range<u64>>> {
    let units = in_channels.div_ceil(CHANNEL_MULTIPLE);
    if units < count {
        return None;
    }
    let start = |part: u64| (CHANNEL_MULTIPLE * (part * (units / count) + part.min(units % count))).min(in_channels);
    Some((0..count).map(|part| start(part)..start(part + 1)).collect())
}

fn bytes(out_channels: u64, in_channels: u64, bits: u64) -> u64 {
    out_channels.saturating_mul(in_channels).saturating_mul(bits).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERIC: ConvSplitter = ConvSplitter { chip: Some(Chip::Generic) };

    fn sizes(splitter: ConvSplitter, out_channels: u64, in_channels: u64, bits: Option<u8>) -> Vec<u64> {
        splitter.parts(out_channels, in_channels, bits).iter().map(|part| part.end - part.start).collect()
    }

    #[test]
    fn weights_on_the_notch_are_split_into_the_fewest_parts_that_are_clear() {
        // Two halves of 2 MiB would be on the notch again.
        assert_eq!(sizes(GENERIC, 8192, 2048, None), [704, 672, 672]);
        assert_eq!(sizes(GENERIC, 14336, 4096, None), [2048, 2048]);
        assert_eq!(sizes(GENERIC, 12288, 4096, None), [1024; 4]);
    }

    #[test]
    fn palettized_weights_count_by_their_indices() {
        assert_eq!(sizes(GENERIC, 8192, 2048, Some(4)), [2048]);
        assert_eq!(sizes(GENERIC, 8192, 2048, Some(8)), [1024, 1024]);
    }

    #[test]
    fn weights_beyond_the_largest_kernel_are_split() {
        assert_eq!(sizes(GENERIC, 28672, 8192, None).iter().sum::<u64>(), 8192);
        assert!(sizes(GENERIC, 28672, 8192, None).iter().all(|part| 2 * 28672 * part <= WEIGHT_BYTES));
    }

    #[test]
    fn mlps_are_cut_to_the_channels_that_the_chip_takes() {
        let sizes = |chip, channels| {
            let parts = ConvSplitter { chip }.mlp_parts(channels);
            parts.iter().map(|part| part.end - part.start).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Some(Chip::Generic), 18_944), [9472, 9472]);
        assert_eq!(sizes(Some(Chip::Generic), 14_336), [14_336]);
        assert_eq!(sizes(Some(Chip::M4), 18_944), [18_944]);
        assert_eq!(sizes(None, 18_944), [18_944]);
        assert_eq!(sizes(Some(Chip::Generic), 1), [1]);
    }

    #[test]
    fn nothing_is_split_for_chips_without_a_notch_or_for_the_gpu() {
        assert_eq!(sizes(ConvSplitter { chip: Some(Chip::M1) }, 8192, 2048, None), [2048]);
        assert_eq!(sizes(ConvSplitter { chip: None }, 8192, 2048, None), [2048]);
    }

    #[test]
    fn parts_cover_the_channels_in_order_for_every_width() {
        for in_channels in 1..=300 {
            for count in 2..=8 {
                let Some(parts) = even_parts(in_channels, count) else { continue };
                assert_eq!(parts.first().map(|part| part.start), Some(0));
                assert_eq!(parts.last().map(|part| part.end), Some(in_channels));
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
                assert!(parts.iter().all(|part| part.start < part.end), "{in_channels} in {count}");
            }
        }
    }
}
