//! Palettes and the assignment of weights to their entries.

use half::f16;

use crate::histogram::{KEYS, key, value};

/// Entries that weights are replaced by, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    entries: Vec<f16>,
}

/// The error of a palettization.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorStats {
    /// Number of weights.
    pub count: u64,
    /// Sum of the squares of the weights.
    pub signal: f64,
    /// Sum of the squares of what was changed.
    pub noise: f64,
    /// The largest change.
    pub max_error: f64,
}

impl ErrorStats {
    /// Adds the error of other weights.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.signal += other.signal;
        self.noise += other.noise;
        self.max_error = self.max_error.max(other.max_error);
    }

    /// Signal-to-noise ratio in decibels; infinite where nothing was changed.
    pub fn snr_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }
}

impl Palette {
    /// Rounds the means to fp16 and fills up to `length` entries with the largest, so that the entries ascend and the
    /// indices of the others stay in use.
    pub(crate) fn new(means: &[f64], length: usize) -> Self {
        // Adding zero turns a negative zero into a positive one.
        let mut entries: Vec<f16> = means.iter().map(|mean| f16::from_f64(mean + 0.0) + f16::ZERO).collect();
        let largest = entries.last().copied().unwrap_or(f16::ZERO);
        entries.resize(length, largest);
        Self { entries }
    }

    /// The entries, ascending; always a power of two of them.
    pub fn entries(&self) -> &[f16] {
        &self.entries
    }

    /// Prepares assignment; share it between slices and threads.
    pub fn assigner(&self) -> Assigner<'_> {
        let mut index_of_key = Vec::with_capacity(KEYS);
        let mut last_index = 0;
        for (index, pair) in (0..=u8::MAX).zip(self.entries.windows(2)) {
            // Equal entries, which stand at the end, share the lowest index among them.
            if pair[0] == pair[1] {
                break;
            }
            // The middle of two fp16 values is exact in f64; a weight on it goes to the lower entry.
            let middle = f64::midpoint(pair[0].to_f64(), pair[1].to_f64());
            index_of_key.resize(usize::from(last_key_at_most(middle)) + 1, index);
            last_index = index + 1;
        }
        index_of_key.resize(KEYS, last_index);
        Assigner { palette: self, index_of_key }
    }
}

/// The largest key whose value is at most `limit`, which lies between two finite values.
fn last_key_at_most(limit: f64) -> u16 {
    let rounded = f16::from_f64(limit);
    let near = key(rounded);
    if value(near).to_f64() <= limit { near } else { near.saturating_sub(1) }
}

/// Assigns weights to the nearest entries of a palette, by a table over all fp16 values.
#[derive(Clone, Debug)]
pub struct Assigner<'a> {
    palette: &'a Palette,
    index_of_key: Vec<u8>,
}

impl Assigner<'_> {
    /// Writes the index of the nearest entry for each weight. Equal entries share the lowest index among them.
    ///
    /// Slices of unequal length are cut to the shorter one.
    pub fn assign(&self, weights: &[f16], indices: &mut [u8]) {
        for (weight, index) in weights.iter().zip(indices) {
            *index = self.index_of(key(*weight));
        }
    }

    /// The error of replacing weights with these keys and counts.
    pub(crate) fn error(&self, entries: impl IntoIterator<Item = (u16, u64)>) -> ErrorStats {
        let palette: Vec<f64> = self.palette.entries.iter().map(|entry| entry.to_f64()).collect();
        let mut stats = ErrorStats::default();
        for (key, count) in entries {
            let weight = value(key).to_f64();
            let error = weight - palette.get(usize::from(self.index_of(key))).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let times = count as f64;
            stats.count += count;
            stats.signal += times * weight * weight;
            stats.noise += times * error * error;
            stats.max_error = stats.max_error.max(error.abs());
        }
        stats
    }

    fn index_of(&self, key: u16) -> u8 {
        self.index_of_key.get(usize::from(key)).copied().unwrap_or_default()
    }
}
