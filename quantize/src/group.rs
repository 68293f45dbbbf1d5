//! Palettes for group after group, without new memory for each.

use half::f16;

use crate::float::{KEYS, UNIT, ZERO_KEY, key, largest_magnitude, units};
use crate::palette::IndexTable;
use crate::sums::PrefixSums;
use crate::{ErrorStats, Histogram, Method, Palette, QuantizeError, check_bits, check_finite, solve};

/// Keys that are skipped at once where none of them occurs: many do not, near zero.
const BLOCK: usize = 16;

/// A palette and the error of a group that uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPalette {
    /// The palette.
    pub palette: Palette,
    /// The error.
    pub stats: ErrorStats,
}

/// Makes palettes for groups of weights, one after the other, and keeps the memory that this takes.
///
/// ```
/// use anec_quantize::{Method, Palettizer};
/// use half::f16;
///
/// let weights: Vec<f16> = [0.5, -0.25, 0.5, 0.125, 1.0, 2.0, 3.0, 4.0].map(f16::from_f32).to_vec();
/// let mut palettizer = Palettizer::new(2, Method::Fast)?;
/// let mut indices = Vec::new();
/// for group in weights.chunks(4) {
///     let group = palettizer.group(group, &mut indices)?;
///     assert_eq!(group.palette.entries().len(), 4);
/// }
/// assert_eq!(indices, [2, 0, 2, 1, 0, 1, 2, 3]);
/// # Ok::<(), anec_quantize::QuantizeError>(())
/// ```
#[derive(Debug)]
pub struct Palettizer {
    bits: u8,
    method: Method,
    /// Occurrences by key; all zero between groups.
    counts: Vec<u32>,
    /// Keys that occur.
    keys: Vec<u16>,
    sums: PrefixSums,
    table: IndexTable,
}

impl Palettizer {
    /// For palettes of `2^bits` entries that `method` finds.
    ///
    /// # Errors
    /// `bits` is not 1 to 8.
    pub fn new(bits: u8, method: Method) -> Result<Self, QuantizeError> {
        check_bits(bits)?;
        Ok(Self {
            bits,
            method,
            counts: vec![0; KEYS],
            keys: vec![0; KEYS],
            sums: PrefixSums::default(),
            table: IndexTable::default(),
        })
    }

    /// Makes a palette for these weights and appends the index of the nearest entry for each.
    ///
    /// # Errors
    /// There are no weights, or one is not finite; no indices are appended then.
    pub fn group(&mut self, weights: &[f16], indices: &mut Vec<u8>) -> Result<GroupPalette, QuantizeError> {
        if weights.is_empty() {
            return Err(QuantizeError::Empty);
        }
        // Counts of 32 bits would overflow.
        if u32::try_from(weights.len()).is_err() {
            return self.by_histogram(&Histogram::of(weights)?, weights, indices);
        }
        check_finite(weights)?;
        self.count(weights);
        let palette = solve(&self.sums, self.bits, self.method);
        let stats = counted_error(&self.sums, &palette);
        self.table.fill(&palette);
        self.table.append(weights, indices);
        Ok(GroupPalette { palette, stats })
    }

    /// Like [`group`](Self::group), with an importance for each weight: how often its squared error counts.
    ///
    /// The error that is reported counts each weight once.
    ///
    /// # Errors
    /// There are no weights, one is not finite, or there is not one finite importance that is not negative for each; no
    /// indices are appended then.
    pub fn weighted_group(
        &mut self,
        weights: &[f16],
        importance: &[f32],
        indices: &mut Vec<u8>,
    ) -> Result<GroupPalette, QuantizeError> {
        let mut histogram = Histogram::new();
        histogram.add_weighted(weights, importance)?;
        self.by_histogram(&histogram, weights, indices)
    }

    fn by_histogram(
        &mut self,
        histogram: &Histogram,
        weights: &[f16],
        indices: &mut Vec<u8>,
    ) -> Result<GroupPalette, QuantizeError> {
        let palette = histogram.palette(self.bits, self.method)?;
        let stats = histogram.error(&palette.assigner());
        self.table.fill(&palette);
        self.table.append(weights, indices);
        Ok(GroupPalette { palette, stats })
    }

    /// Sums up the weights, by way of the counts.
    fn count(&mut self, weights: &[f16]) {
        for weight in weights {
            if let Some(count) = self.counts.get_mut(usize::from(key(*weight))) {
                *count += 1;
            }
        }
        // Keys beyond the largest magnitude are not swept.
        let largest = largest_magnitude(weights).to_bits();
        let (start, end) = (usize::from(ZERO_KEY - largest), usize::from(ZERO_KEY + largest));
        let counts = self.counts.get_mut(start..=end).unwrap_or_default();
        let mut length = 0;
        for (block, counts) in counts.chunks(BLOCK).enumerate() {
            if counts.iter().fold(0, |any, count| any | count) == 0 {
                continue;
            }
            for (key, count) in (ZERO_KEY - largest..).skip(block * BLOCK).zip(counts) {
                // Written always and kept where it occurs: a branch would be mispredicted half of the time.
                if let Some(slot) = self.keys.get_mut(length) {
                    *slot = key;
                }
                length += usize::from(*count > 0);
            }
        }
        let keys = self.keys.get(..length).unwrap_or_default();
        self.sums.replace(keys, |key| counts.get(usize::from(key) - start).map_or(0.0, |count| f64::from(*count)));
        counts.fill(0);
    }
}

/// The error where masses are counts.
fn counted_error(sums: &PrefixSums, palette: &Palette) -> ErrorStats {
    let entries: Vec<f64> = palette.entries().iter().map(|entry| units(key(*entry))).collect();
    let mut stats = ErrorStats::default();
    let mut start = 0;
    for (index, entry) in entries.iter().enumerate() {
        // Weights in the middle go to the lower entry.
        let end = match entries.get(index + 1) {
            Some(next) => start + sums.values[start..].partition_point(|value| *value <= f64::midpoint(*entry, *next)),
            None => sums.len(),
        };
        let noise = (start..end).map(|at| sums.mass(at, at + 1) * (sums.values[at] - entry).powi(2));
        stats.noise += noise.sum::<f64>();
        for value in sums.values[start..end].first().into_iter().chain(sums.values[start..end].last()) {
            stats.max_error = stats.max_error.max((value - entry).abs());
        }
        start = end;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of counts")]
    let count = sums.mass(0, sums.len()) as u64;
    let signal = sums.second[sums.len()] - sums.second[0];
    ErrorStats {
        count,
        signal: signal * UNIT * UNIT,
        noise: stats.noise * UNIT * UNIT,
        max_error: stats.max_error * UNIT,
    }
}
