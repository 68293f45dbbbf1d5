//! Palettes and the assignment of weights to their entries.

use half::f16;

use crate::float::{KEYS, UNIT, key, value};

/// Entries that weights are replaced by, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    entries: Vec<f16>,
}

impl Palette {
    /// Rounds the means, in multiples of [`UNIT`], to fp16 and fills up to `length` entries with the largest, so that the entries ascend and the
    /// indices of the others stay in use.
    pub(crate) fn new(means: &[f64], length: usize) -> Self {
        // Adding zero turns a negative zero into a positive one.
        let mut entries: Vec<f16> = means.iter().map(|mean| f16::from_f64(mean * UNIT) + f16::ZERO).collect();
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
        for (index, pair) in (0_u8..).zip(self.entries.windows(2)) {
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
    /// The palette.
    pub fn palette(&self) -> &Palette {
        self.palette
    }

    /// Writes the index of the nearest entry for each weight. Equal entries share the lowest index among them.
    ///
    /// Slices of unequal length are cut to the shorter one.
    pub fn assign(&self, weights: &[f16], indices: &mut [u8]) {
        for (weight, index) in weights.iter().zip(indices) {
            *index = self.index_of(key(*weight));
        }
    }

    pub(crate) fn index_of(&self, key: u16) -> u8 {
        self.index_of_key.get(usize::from(key)).copied().unwrap_or_default()
    }
}
