//! How often each fp16 value occurs.

use half::f16;

use crate::float::{KEYS, UNIT, key, units, value};
use crate::sums::PrefixSums;
use crate::{Assigner, ErrorStats, Method, Palette, QuantizeError, check_finite, check_importance, solve};

/// Counts of fp16 values, which can be gathered from many slices.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// How often the value of each key occurs.
    counts: Box<[u64]>,
    /// The importance of all weights with the value of each key, where it is not their count.
    masses: Option<Box<[f64]>>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// No values yet.
    pub fn new() -> Self {
        Self { counts: vec![0; KEYS].into_boxed_slice(), masses: None }
    }

    /// The histogram of one slice.
    ///
    /// # Errors
    /// A weight is not finite.
    pub fn of(weights: &[f16]) -> Result<Self, QuantizeError> {
        let mut histogram = Self::new();
        histogram.add(weights)?;
        Ok(histogram)
    }

    /// Counts more weights.
    ///
    /// # Errors
    /// A weight is not finite; nothing is counted then.
    pub fn add(&mut self, weights: &[f16]) -> Result<(), QuantizeError> {
        check_finite(weights)?;
        self.count(weights);
        if self.masses.is_some() {
            self.add_masses(weights.iter().map(|weight| (*weight, 1.0)));
        }
        Ok(())
    }

    /// Counts more weights that are all equally important: an error in one of them counts `importance` times.
    ///
    /// # Errors
    /// A weight or the importance is not finite, or the importance is negative; nothing is counted then.
    pub fn add_with(&mut self, weights: &[f16], importance: f64) -> Result<(), QuantizeError> {
        check_finite(weights)?;
        check_importance([importance])?;
        self.masses_or_counts();
        self.count(weights);
        self.add_masses(weights.iter().map(|weight| (*weight, importance)));
        Ok(())
    }

    /// Counts more weights, each with an importance of its own.
    ///
    /// The sums of importance depend on the order of weights and calls in their last bits, unlike counts.
    ///
    /// # Errors
    /// The slices differ in length, a weight or an importance is not finite, or one is negative; nothing is counted then.
    pub fn add_weighted(&mut self, weights: &[f16], importance: &[f32]) -> Result<(), QuantizeError> {
        check_finite(weights)?;
        if weights.len() != importance.len() {
            return Err(QuantizeError::ImportanceLength { weights: weights.len(), importance: importance.len() });
        }
        check_importance(importance.iter().map(|importance| f64::from(*importance)))?;
        self.masses_or_counts();
        self.count(weights);
        self.add_masses(weights.iter().zip(importance).map(|(weight, importance)| (*weight, f64::from(*importance))));
        Ok(())
    }

    /// Adds the counts of another histogram.
    ///
    /// The order of merging does not matter, but to the last bits of sums of importance.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn merge(&mut self, other: &Self) {
        if other.masses.is_some() {
            self.masses_or_counts();
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        match (&mut self.masses, &other.masses) {
            (Some(masses), Some(more)) => masses.iter_mut().zip(more).for_each(|(mass, more)| *mass += more),
            (Some(masses), None) => masses.iter_mut().zip(&other.counts).for_each(|(mass, more)| *mass += *more as f64),
            (None, _) => {}
        }
    }

    /// The palette of `2^bits` entries with the least squared error, weighed by importance, that `method` finds.
    ///
    /// # Errors
    /// There are no values, or `bits` is not 1 to 8.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn palette(&self, bits: u8, method: Method) -> Result<Palette, QuantizeError> {
        crate::check_bits(bits)?;
        let count_of = |key: u16| self.counts.get(usize::from(key)).copied().unwrap_or_default() as f64;
        let counted = keys_where(|key| count_of(key) > 0.0);
        if counted.is_empty() {
            return Err(QuantizeError::Empty);
        }
        let mass_of = |masses: &[f64], key: u16| masses.get(usize::from(key)).copied().unwrap_or_default();
        let sums = match &self.masses {
            // Where no weight is important, all are equally.
            Some(masses) if masses.iter().any(|mass| *mass > 0.0) => {
                PrefixSums::new(&keys_where(|key| mass_of(masses, key) > 0.0), |key| mass_of(masses, key))
            }
            _ => PrefixSums::new(&counted, count_of),
        };
        Ok(solve(&sums, bits, method))
    }

    /// The error of replacing every counted weight by its entry of a palette, each weight counting once.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn error(&self, assigner: &Assigner<'_>) -> ErrorStats {
        let entries: Vec<f64> = assigner.palette().entries().iter().map(|entry| units(key(*entry))).collect();
        let mut stats = ErrorStats::default();
        for (key, count) in (0..=u16::MAX).zip(&self.counts).filter(|(_, count)| **count > 0) {
            let weight = units(key);
            let error = weight - entries.get(usize::from(assigner.index_of(value(key)))).copied().unwrap_or_default();
            stats.count += count;
            stats.signal += *count as f64 * weight * weight;
            stats.noise += *count as f64 * error * error;
            stats.max_error = stats.max_error.max(error.abs());
        }
        ErrorStats {
            signal: stats.signal * UNIT * UNIT,
            noise: stats.noise * UNIT * UNIT,
            max_error: stats.max_error * UNIT,
            ..stats
        }
    }

    fn count(&mut self, weights: &[f16]) {
        for weight in weights {
            if let Some(count) = self.counts.get_mut(usize::from(key(*weight))) {
                *count += 1;
            }
        }
    }

    fn add_masses(&mut self, weights: impl Iterator<Item = (f16, f64)>) {
        let Some(masses) = &mut self.masses else { return };
        for (weight, importance) in weights {
            if let Some(mass) = masses.get_mut(usize::from(key(weight))) {
                *mass += importance;
            }
        }
    }

    /// Weights that were counted without an importance have that of 1.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn masses_or_counts(&mut self) {
        if self.masses.is_none() {
            self.masses = Some(self.counts.iter().map(|count| *count as f64).collect());
        }
    }
}

fn keys_where(holds: impl Fn(u16) -> bool) -> Vec<u16> {
    (0..=u16::MAX).filter(|key| holds(*key)).collect()
}
