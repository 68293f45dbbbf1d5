//! How often each fp16 value occurs.

use half::f16;

use crate::palette::{Assigner, ErrorStats, Palette};
use crate::{Method, QuantizeError, exact, lloyd};

/// Below this many weights, sorting them is cheaper than sweeping a table of all 65,536 values.
const SORT_LIMIT: usize = 1 << 15;

/// Keys of all fp16 values.
pub(crate) const KEYS: usize = 1 << 16;

/// The key of a value: an integer in the order of the values. Both zeros have the same.
pub(crate) fn key(value: f16) -> u16 {
    const SIGN: u16 = 0x8000;
    match value.to_bits() {
        SIGN => SIGN,
        bits if bits & SIGN != 0 => !bits,
        bits => bits | SIGN,
    }
}

/// The value of a key.
pub(crate) fn value(key: u16) -> f16 {
    const SIGN: u16 = 0x8000;
    f16::from_bits(if key & SIGN != 0 { key & !SIGN } else { !key })
}

/// Counts of fp16 values, which can be gathered from many slices.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Counts,
}

#[derive(Clone, Debug)]
enum Counts {
    /// A count for every key.
    Table(Box<[u64]>),
    /// Keys that occur, ascending, with their counts.
    Sorted(Vec<(u16, u64)>),
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// No values yet.
    pub fn new() -> Self {
        Self { counts: Counts::Table(vec![0; KEYS].into_boxed_slice()) }
    }

    /// The histogram of one slice, by the cheaper way for its length.
    ///
    /// # Errors
    /// A weight is not finite.
    pub fn of(weights: &[f16]) -> Result<Self, QuantizeError> {
        if weights.len() > SORT_LIMIT {
            let mut histogram = Self::new();
            histogram.add(weights)?;
            return Ok(histogram);
        }
        check_finite(weights)?;
        let mut keys: Vec<u16> = weights.iter().map(|weight| key(*weight)).collect();
        radix_sort(&mut keys);
        let runs = keys.chunk_by(|a, b| a == b);
        Ok(Self { counts: Counts::Sorted(runs.filter_map(|run| Some((*run.first()?, run.len() as u64))).collect()) })
    }

    /// Counts more weights.
    ///
    /// # Errors
    /// A weight is not finite; nothing is counted then.
    pub fn add(&mut self, weights: &[f16]) -> Result<(), QuantizeError> {
        check_finite(weights)?;
        let table = self.table();
        for weight in weights {
            if let Some(count) = table.get_mut(usize::from(key(*weight))) {
                *count += 1;
            }
        }
        Ok(())
    }

    /// Adds the counts of another histogram; the order of merging does not matter.
    pub fn merge(&mut self, other: &Self) {
        let entries = other.entries();
        let table = self.table();
        for (key, count) in entries {
            if let Some(slot) = table.get_mut(usize::from(key)) {
                *slot += count;
            }
        }
    }

    /// The palette of `2^bits` entries with the least squared error that `method` finds.
    ///
    /// # Errors
    /// There are no values, or `bits` is not 1 to 8.
    pub fn palette(&self, bits: u8, method: Method) -> Result<Palette, QuantizeError> {
        if !(1..=8).contains(&bits) {
            return Err(QuantizeError::Bits { bits });
        }
        let sums = PrefixSums::new(&self.entries());
        if sums.len() == 0 {
            return Err(QuantizeError::Empty);
        }
        let centers = 1_usize << bits;
        let means = if sums.len() <= centers {
            sums.values.clone()
        } else {
            match method {
                Method::Fast => lloyd::centers(&sums, centers),
                Method::Exact => exact::centers(&sums, centers),
            }
        };
        Ok(Palette::new(&means, centers))
    }

    /// The error of replacing every counted weight by its entry of a palette.
    pub fn error(&self, assigner: &Assigner<'_>) -> ErrorStats {
        assigner.error(self.entries())
    }

    /// Values that occur, ascending by key, with their counts.
    fn entries(&self) -> Vec<(u16, u64)> {
        match &self.counts {
            Counts::Sorted(entries) => entries.clone(),
            Counts::Table(table) => (0..=u16::MAX)
                .zip(table.iter())
                .filter(|(_, count)| **count > 0)
                .map(|(key, count)| (key, *count))
                .collect(),
        }
    }

    fn table(&mut self) -> &mut [u64] {
        if let Counts::Sorted(entries) = &self.counts {
            let mut table = vec![0; KEYS].into_boxed_slice();
            for (key, count) in entries {
                if let Some(slot) = table.get_mut(usize::from(*key)) {
                    *slot = *count;
                }
            }
            self.counts = Counts::Table(table);
        }
        match &mut self.counts {
            Counts::Table(table) => table,
            Counts::Sorted(_) => &mut [],
        }
    }
}

fn check_finite(weights: &[f16]) -> Result<(), QuantizeError> {
    const EXPONENT: u16 = 0x7c00;
    let finite = weights.iter().fold(true, |finite, weight| finite & (weight.to_bits() & EXPONENT != EXPONENT));
    if finite {
        return Ok(());
    }
    match weights.iter().enumerate().find(|(_, weight)| !weight.is_finite()) {
        Some((position, value)) => Err(QuantizeError::NotFinite { position, value: *value }),
        None => Ok(()),
    }
}

/// Sorts by the low byte, then stably by the high byte.
fn radix_sort(keys: &mut [u16]) {
    let mut scratch = vec![0; keys.len()];
    counting_pass(keys, &mut scratch, |key| key & 0xff);
    counting_pass(&scratch, keys, |key| key >> 8);
}

fn counting_pass(source: &[u16], target: &mut [u16], digit: impl Fn(u16) -> u16) {
    let mut starts = [0_usize; 257];
    for key in source {
        starts[usize::from(digit(*key)) + 1] += 1;
    }
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    for key in source {
        let slot = &mut starts[usize::from(digit(*key))];
        if let Some(place) = target.get_mut(*slot) {
            *place = *key;
        }
        *slot += 1;
    }
}

/// Distinct values with prefix sums of their counts and moments: what any interval of values weighs, in O(1).
#[derive(Debug)]
pub(crate) struct PrefixSums {
    /// Distinct values, ascending.
    pub(crate) values: Vec<f64>,
    weight: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl PrefixSums {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn new(entries: &[(u16, u64)]) -> Self {
        let length = entries.len();
        let mut sums = Self {
            values: Vec::with_capacity(length),
            weight: Vec::with_capacity(length + 1),
            first: Vec::with_capacity(length + 1),
            second: Vec::with_capacity(length + 1),
        };
        let (mut weight, mut first, mut second) = (0.0, 0.0, 0.0);
        let mut push = |weight: f64, first: f64, second: f64| {
            sums.weight.push(weight);
            sums.first.push(first);
            sums.second.push(second);
        };
        push(0.0, 0.0, 0.0);
        for (key, count) in entries {
            let (value, count) = (value(*key).to_f64(), *count as f64);
            weight += count;
            first += count * value;
            second += count * value * value;
            push(weight, first, second);
        }
        sums.values.extend(entries.iter().map(|(key, _)| value(*key).to_f64()));
        sums
    }

    /// Number of distinct values.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// How many weights have one of the values `start..end`.
    pub(crate) fn weight(&self, start: usize, end: usize) -> f64 {
        self.weight[end] - self.weight[start]
    }

    /// Mean of the values `start..end`, which must not be empty.
    pub(crate) fn mean(&self, start: usize, end: usize) -> f64 {
        let mean = (self.first[end] - self.first[start]) / self.weight(start, end);
        // Rounding of the sums must not carry a mean out of its interval.
        mean.clamp(self.values[start], self.values[end - 1])
    }

    /// Squared error of the values `start..end` around their mean.
    pub(crate) fn cost(&self, start: usize, end: usize) -> f64 {
        if end <= start + 1 {
            return 0.0;
        }
        let first = self.first[end] - self.first[start];
        let second = self.second[end] - self.second[start];
        (second - first * first / self.weight(start, end)).max(0.0)
    }
}
