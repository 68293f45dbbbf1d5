//! Palettes and the assignment of weights to their entries.

use half::f16;

use crate::histogram::{key, value};

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

    /// Prepares assignment. Worth it for thousands of weights; share it between slices and threads.
    pub fn assigner(&self) -> Assigner<'_> {
        let mut last_keys: Vec<u16> = Vec::with_capacity(self.entries.len());
        for pair in self.entries.windows(2) {
            // The middle of two fp16 values is exact in f64; a weight on it goes to the lower entry.
            let middle = f64::midpoint(pair[0].to_f64(), pair[1].to_f64());
            last_keys.push(if pair[0] == pair[1] { u16::MAX } else { last_key_at_most(middle) });
        }
        Assigner { palette: self, last_keys }
    }
}

/// The largest key whose value is at most `limit`, which lies between two finite values.
fn last_key_at_most(limit: f64) -> u16 {
    let rounded = f16::from_f64(limit);
    let near = key(rounded);
    if value(near).to_f64() <= limit { near } else { near.saturating_sub(1) }
}

/// Assigns weights to the nearest entries of a palette.
#[derive(Clone, Debug)]
pub struct Assigner<'a> {
    palette: &'a Palette,
    /// For each entry but the last, the last key that it takes.
    last_keys: Vec<u16>,
}

impl Assigner<'_> {
    /// Writes the index of the nearest entry for each weight. Equal entries share the lowest index among them.
    ///
    /// Slices of unequal length are cut to the shorter one.
    pub fn assign(&self, weights: &[f16], indices: &mut [u8]) -> ErrorStats {
        const TABLE_LIMIT: usize = 1 << 14;
        if weights.len().min(indices.len()) < TABLE_LIMIT {
            for (weight, index) in weights.iter().zip(indices.iter_mut()) {
                *index = self.index(key(*weight));
            }
        } else {
            let table: Vec<u8> = (0..=u16::MAX).map(|bits| self.index(key(f16::from_bits(bits)))).collect();
            for (weight, index) in weights.iter().zip(indices.iter_mut()) {
                *index = table.get(usize::from(weight.to_bits())).copied().unwrap_or_default();
            }
        }
        self.stats(weights, indices)
    }

    fn index(&self, key: u16) -> u8 {
        // Branch-free for the few entries of 4 bits and still short for 256: counting the bounds below the key.
        let below = self.last_keys.partition_point(|last| *last < key);
        u8::try_from(below).unwrap_or(u8::MAX)
    }

    fn stats(&self, weights: &[f16], indices: &[u8]) -> ErrorStats {
        let entries: Vec<f64> = self.palette.entries.iter().map(|entry| entry.to_f64()).collect();
        let mut stats = ErrorStats { count: weights.len() as u64, ..ErrorStats::default() };
        for (weight, index) in weights.iter().zip(indices) {
            let weight = weight.to_f64();
            let error = weight - entries.get(usize::from(*index)).copied().unwrap_or_default();
            stats.signal += weight * weight;
            stats.noise += error * error;
            stats.max_error = stats.max_error.max(error.abs());
        }
        stats
    }
}
