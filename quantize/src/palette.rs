//! Palettes and the assignment of weights to their entries.

use half::f16;

use crate::float::{KEYS, UNIT, ZERO_KEY, key, value};

/// The key of zero.
const ZERO: usize = ZERO_KEY as usize;

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
        let mut table = IndexTable::default();
        table.fill(self);
        Assigner { palette: self, table }
    }
}

/// Assigns weights to the nearest entries of a palette.
#[derive(Clone, Debug)]
pub struct Assigner<'a> {
    palette: &'a Palette,
    table: IndexTable,
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
            *index = self.table.index_of(*weight);
        }
    }

    pub(crate) fn index_of(&self, weight: f16) -> u8 {
        self.table.index_of(weight)
    }
}

/// The index of the nearest entry for each fp16 number, by its bits.
#[derive(Clone, Debug)]
pub(crate) struct IndexTable {
    indices: Vec<u8>,
}

impl Default for IndexTable {
    fn default() -> Self {
        Self { indices: vec![0; KEYS] }
    }
}

impl IndexTable {
    /// Replaces the table by that of another palette.
    pub(crate) fn fill(&mut self, palette: &Palette) {
        let mut start = 0;
        let mut last = 0;
        for (index, pair) in (0_u8..=u8::MAX).zip(palette.entries.windows(2)) {
            // Equal entries, which stand at the end, share the lowest index among them.
            if pair[0] == pair[1] {
                break;
            }
            // The middle of two fp16 values is exact in f64; a weight on it goes to the lower entry.
            let middle = f64::midpoint(pair[0].to_f64(), pair[1].to_f64());
            let end = usize::from(last_key_at_most(middle)) + 1;
            self.fill_keys(start, end, index);
            (start, last) = (end, index + 1);
        }
        self.fill_keys(start, KEYS, last);
        // Both zeros have the same key.
        self.indices[ZERO] = self.indices[0];
    }

    /// Keys from that of zero are the bits of positive numbers; those below count down from the bits of negative zero.
    fn fill_keys(&mut self, start: usize, end: usize, index: u8) {
        if start < end.min(ZERO) {
            self.indices[2 * ZERO - end.min(ZERO) + 1..(2 * ZERO - start + 1).min(KEYS)].fill(index);
        }
        if start.max(ZERO) < end {
            self.indices[start.max(ZERO) - ZERO..end - ZERO].fill(index);
        }
    }

    /// Appends the indices of these weights.
    pub(crate) fn append(&self, weights: &[f16], indices: &mut Vec<u8>) {
        indices.extend(weights.iter().map(|weight| self.index_of(*weight)));
    }

    #[inline]
    fn index_of(&self, weight: f16) -> u8 {
        self.indices.get(usize::from(weight.to_bits())).copied().unwrap_or_default()
    }
}

/// The largest key whose value is at most `limit`, which lies between two finite values.
fn last_key_at_most(limit: f64) -> u16 {
    let near = key(f16::from_f64(limit));
    if value(near).to_f64() <= limit { near } else { near.saturating_sub(1) }
}
