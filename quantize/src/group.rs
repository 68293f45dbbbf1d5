//! Palettes for group after group, without new memory for each.

use half::f16;

use crate::float::{KEYS, UNIT, ZERO_KEY, key, largest_magnitude, units};
use crate::grid::Grid;
use crate::palette::IndexTable;
use crate::sums::PrefixSums;
use crate::{ErrorStats, Histogram, Method, Palette, QuantizeError, check_bits, check_finite, solve};

/// Places that are skipped at once where none of them occurs: many do not, near zero.
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
    /// Of each weight of the group, its place on the group's grid.
    places: Vec<u16>,
    /// Occurrences by place; all zero between groups.
    counts: Vec<u32>,
    /// Places that occur, ascending.
    occurring: Vec<u16>,
    /// Their keys.
    keys: Vec<u16>,
    sums: PrefixSums,
    /// Indices by place, right where one occurs.
    indices: Vec<u8>,
    /// Indices by bits, for weights that a histogram counted.
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
            places: Vec::new(),
            counts: vec![0; KEYS],
            occurring: vec![0; KEYS],
            keys: Vec::new(),
            sums: PrefixSums::default(),
            indices: vec![0; KEYS],
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
        let ends = ends(&self.sums, &palette);
        let stats = counted_error(&self.sums, &palette, &ends);
        self.append(&ends, indices);
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
        let grid = Grid::of(weights);
        self.places.clear();
        self.places.extend(weights.iter().map(|weight| grid.place(*weight)));
        for place in &self.places {
            if let Some(count) = self.counts.get_mut(usize::from(*place)) {
                *count += 1;
            }
        }
        // Places beyond the largest magnitude are not swept.
        let end = grid.place(largest_magnitude(weights));
        let start = ZERO_KEY - (end - ZERO_KEY);
        let counts = self.counts.get_mut(usize::from(start)..=usize::from(end)).unwrap_or_default();
        let mut length = 0;
        for (block, counts) in counts.chunks(BLOCK).enumerate() {
            if counts.iter().fold(0, |any, count| any | count) == 0 {
                continue;
            }
            for (place, count) in (start..).skip(block * BLOCK).zip(counts) {
                // Written always and kept where it occurs: a branch would be mispredicted half of the time.
                if let Some(slot) = self.occurring.get_mut(length) {
                    *slot = place;
                }
                length += usize::from(*count > 0);
            }
        }
        let occurring = self.occurring.get(..length).unwrap_or_default();
        self.keys.clear();
        self.keys.extend(occurring.iter().map(|place| grid.key(*place)));
        let count = |place: u16| counts.get(usize::from(place - start)).map_or(0.0, |count| f64::from(*count));
        self.sums.replace(&self.keys, occurring.iter().map(|place| count(*place)));
        counts.fill(0);
    }

    /// Appends the index of each weight, where `ends` says which of the values that occur have which.
    fn append(&mut self, ends: &[usize], indices: &mut Vec<u8>) {
        let mut start = 0;
        for (index, end) in (0..=u8::MAX).zip(ends) {
            if let Some([first, .., last] | [first @ last]) = self.occurring.get(start..*end) {
                self.indices[usize::from(*first)..=usize::from(*last)].fill(index);
            }
            start = *end;
        }
        let table = &self.indices;
        indices.extend(self.places.iter().map(|place| table.get(usize::from(*place)).copied().unwrap_or_default()));
    }
}

/// For each entry, the number of values, of those that occur, that belong to it or to one before it. Equal entries share the
/// lowest index among them; a value in the middle of two goes to the lower.
fn ends(sums: &PrefixSums, palette: &Palette) -> Vec<usize> {
    let entries = palette.entries();
    let mut end = 0;
    let next = entries.iter().skip(1).map(Some).chain([None]);
    let of_entry = entries.iter().zip(next).map(|(entry, next)| {
        end = match next {
            Some(next) if entry < next => {
                let middle = f64::midpoint(units(key(*entry)), units(key(*next)));
                end + sums.values[end..].partition_point(|value| *value <= middle)
            }
            _ => sums.len(),
        };
        end
    });
    of_entry.collect()
}

/// The error where masses are counts, and entries have the values up to their ends.
fn counted_error(sums: &PrefixSums, palette: &Palette, ends: &[usize]) -> ErrorStats {
    let mut stats = ErrorStats::default();
    let mut start = 0;
    for (entry, end) in palette.entries().iter().zip(ends) {
        let entry = units(key(*entry));
        let noise = (start..*end).map(|at| sums.mass(at, at + 1) * (sums.values[at] - entry).powi(2));
        stats.noise += noise.sum::<f64>();
        for value in sums.values[start..*end].first().into_iter().chain(sums.values[start..*end].last()) {
            stats.max_error = stats.max_error.max((value - entry).abs());
        }
        start = *end;
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
