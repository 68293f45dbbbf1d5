//! Distinct values with prefix sums: what any interval of values weighs, in O(1).

use crate::float::units;

/// Sums of the masses of distinct values and of their moments, in multiples of [`UNIT`](crate::float::UNIT).
///
/// Values are integers, so for counts the sums are exact as long as they stay below 2^53, whatever cancels. Beyond that,
/// they are taken outward from zero: the sum over an interval of small values is a difference of sums that no large value
/// entered.
#[derive(Debug, Default)]
pub(crate) struct PrefixSums {
    /// Distinct values, ascending.
    pub(crate) values: Vec<f64>,
    /// Sums before each value, and at the end of all: of the masses,
    pub(crate) mass: Vec<f64>,
    /// of the masses times the values,
    pub(crate) first: Vec<f64>,
    /// and of the masses times the squares of the values.
    pub(crate) second: Vec<f64>,
}

impl PrefixSums {
    /// Keys ascend; masses are positive.
    pub(crate) fn new(entries: impl Iterator<Item = (u16, f64)>) -> Self {
        let mut sums = Self::default();
        sums.replace(entries);
        sums
    }

    /// Forgets the values for others, but keeps their memory.
    pub(crate) fn replace(&mut self, entries: impl Iterator<Item = (u16, f64)>) {
        self.values.clear();
        self.mass.clear();
        for (key, mass) in entries {
            self.values.push(units(key));
            self.mass.push(mass);
        }
        self.first.clear();
        self.first.extend(self.values.iter().zip(&self.mass).map(|(value, mass)| value * mass));
        self.second.clear();
        self.second.extend(self.values.iter().zip(&self.first).map(|(value, first)| value * first));
        let zero = self.values.partition_point(|value| *value < 0.0);
        for sums in [&mut self.mass, &mut self.first, &mut self.second] {
            accumulate(sums, zero);
        }
    }

    /// Number of distinct values.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The mass of the values `start..end`.
    pub(crate) fn mass(&self, start: usize, end: usize) -> f64 {
        self.mass[end] - self.mass[start]
    }

    /// Mean of the values `start..end`, which must not be empty.
    pub(crate) fn mean(&self, start: usize, end: usize) -> f64 {
        let mean = (self.first[end] - self.first[start]) / self.mass(start, end);
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
        (second - first * first / self.mass(start, end)).max(0.0)
    }
}

/// Turns terms into sums `s` such that `s[end] - s[start]` is the sum over `start..end`, with `s[zero] = 0`.
fn accumulate(terms: &mut Vec<f64>, zero: usize) {
    let mut sum = 0.0;
    for term in terms.iter_mut().skip(zero) {
        let next = sum + *term;
        *term = next;
        sum = next;
    }
    terms.insert(zero, 0.0);
    let mut sum = 0.0;
    for term in terms.iter_mut().take(zero).rev() {
        sum -= *term;
        *term = sum;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "sums of integers are exact")]

    use half::f16;

    use super::*;
    use crate::float::key;

    #[test]
    fn sums_beside_an_outlier_are_those_without_it() {
        let small = [-2e-4, -1e-4, 1e-4, 1.5e-4, 2e-4].map(|value| key(f16::from_f64(value)));
        let alone = PrefixSums::new(small.iter().map(|key| (*key, 3.0)));
        let outlier = key(f16::MAX);
        let both = PrefixSums::new(small.iter().chain([&outlier]).map(|key| (*key, 3.0)));
        for end in 1..=small.len() {
            for start in 0..end {
                assert_eq!(alone.mean(start, end), both.mean(start, end));
                assert_eq!(alone.cost(start, end), both.cost(start, end));
            }
        }
    }
}
