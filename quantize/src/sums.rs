//! Distinct values with prefix sums: what any interval of values weighs, in O(1).

use crate::float::{ZERO_KEY, units};

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
    pub(crate) fn new(keys: &[u16], mass: impl Fn(u16) -> f64) -> Self {
        let mut sums = Self::default();
        sums.replace(keys, keys.iter().map(|key| mass(*key)));
        sums
    }

    /// Forgets the values for others, with a mass for each key, but keeps their memory.
    pub(crate) fn replace(&mut self, keys: &[u16], masses: impl Iterator<Item = f64>) {
        let negative = keys.partition_point(|key| *key < ZERO_KEY);
        self.values.clear();
        self.values.extend(keys.iter().map(|key| units(*key)));
        let (below, above) = self.values.split_at(negative);
        // Terms, with a place between those below zero and the others.
        self.mass.clear();
        self.mass.extend(masses);
        self.mass.insert(negative, 0.0);
        times(&mut self.first, &self.mass, below, above);
        times(&mut self.second, &self.first, below, above);
        for terms in [&mut self.mass, &mut self.first, &mut self.second] {
            let (below, above) = terms.split_at_mut(negative);
            accumulate_down(below);
            accumulate_up(above);
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
}

/// Terms times the values below zero, and those above it.
fn times(products: &mut Vec<f64>, terms: &[f64], below: &[f64], above: &[f64]) {
    let values = below.iter().chain(&[0.0]).chain(above);
    products.clear();
    products.extend(terms.iter().zip(values).map(|(term, value)| term * value));
}

/// Turns each term into the sum up to it. Four at a time, so that an addition need not wait for the one before.
fn accumulate_up(terms: &mut [f64]) {
    let mut sum = 0.0;
    let (fours, rest) = terms.as_chunks_mut::<4>();
    for four in fours {
        let [a, b, c, d] = *four;
        let (ab, cd) = (a + b, c + d);
        *four = [sum + a, sum + ab, sum + (ab + c), sum + (ab + cd)];
        sum += ab + cd;
    }
    for term in rest {
        sum += *term;
        *term = sum;
    }
}

/// Turns each term into the negative sum from it to the end.
fn accumulate_down(terms: &mut [f64]) {
    let mut sum = 0.0;
    let (rest, fours) = terms.as_rchunks_mut::<4>();
    for four in fours.iter_mut().rev() {
        let [a, b, c, d] = *four;
        let (ab, cd) = (a + b, c + d);
        *four = [sum - (ab + cd), sum - (b + cd), sum - cd, sum - d];
        sum -= ab + cd;
    }
    for term in rest.iter_mut().rev() {
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
        let alone = PrefixSums::new(&small, |_| 3.0);
        let both: Vec<u16> = small.into_iter().chain([key(f16::MAX)]).collect();
        let both = PrefixSums::new(&both, |_| 3.0);
        for end in 1..=small.len() {
            for start in 0..end {
                assert_eq!(alone.mean(start, end), both.mean(start, end));
                assert_eq!(alone.second[end] - alone.second[start], both.second[end] - both.second[start]);
            }
        }
    }
}
