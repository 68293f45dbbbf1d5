//! The best bounds among a few candidates for each.
//!
//! Every bound between two intervals has [`WIDTH`] candidates near where it stands. The best choice for all bounds together
//! is found by dynamic programming over neighbouring bounds, at `WIDTH²` costs of intervals for each.

use crate::sums::PrefixSums;

/// Candidates of a bound. A power of two, so that the inner loop is whole vectors.
pub(crate) const WIDTH: usize = 16;

/// Sums up to each candidate of a bound, and the least error of all values before it.
#[derive(Clone, Copy)]
struct Layer {
    mass: [f64; WIDTH],
    first: [f64; WIDTH],
    second: [f64; WIDTH],
    error: [f64; WIDTH],
}

impl Layer {
    fn at(sums: &PrefixSums, candidates: &[usize; WIDTH]) -> Self {
        Self {
            mass: candidates.map(|at| sums.mass[at]),
            first: candidates.map(|at| sums.first[at]),
            second: candidates.map(|at| sums.second[at]),
            error: [f64::INFINITY; WIDTH],
        }
    }

    /// Lowers the errors to those where the last interval starts at candidate `from` of the layer before.
    #[inline]
    fn relax(&mut self, before: &Self, from: usize) {
        let (mass, first, second, error) =
            (before.mass[from], before.first[from], before.second[from], before.error[from]);
        for to in 0..WIDTH {
            let total = error + cost(self.mass[to] - mass, self.first[to] - first, self.second[to] - second);
            self.error[to] = if total < self.error[to] { total } else { self.error[to] };
        }
    }
}

/// Squared error of an interval around its mean; infinite for an empty one.
#[inline]
fn cost(mass: f64, first: f64, second: f64) -> f64 {
    let cost = second - first * first / mass;
    if mass > 0.0 { cost } else { f64::INFINITY }
}

/// Chooses one of its candidates for each inner bound, so that the error is the least that candidates allow.
///
/// Some choice must be strictly ascending.
pub(crate) fn search(sums: &PrefixSums, candidates: &[[usize; WIDTH]]) -> Vec<usize> {
    let origin = Layer { error: [0.0; WIDTH], ..Layer::at(sums, &[0; WIDTH]) };
    let mut layers: Vec<Layer> = Vec::with_capacity(candidates.len());
    for candidates in candidates {
        let mut layer = Layer::at(sums, candidates);
        match layers.last() {
            None => layer.relax(&origin, 0),
            Some(before) => (0..WIDTH).for_each(|from| layer.relax(before, from)),
        }
        layers.push(layer);
    }
    let end = sums.len();
    let (mut mass, mut first, mut second) = (sums.mass[end], sums.first[end], sums.second[end]);
    let mut chosen = Vec::with_capacity(candidates.len());
    for (layer, candidates) in layers.iter().zip(candidates).rev() {
        let (mut best, mut at) = (f64::INFINITY, 0);
        for from in 0..WIDTH {
            let last = cost(mass - layer.mass[from], first - layer.first[from], second - layer.second[from]);
            if layer.error[from] + last < best {
                (best, at) = (layer.error[from] + last, from);
            }
        }
        chosen.push(candidates[at]);
        (mass, first, second) = (layer.mass[at], layer.first[at], layer.second[at]);
    }
    chosen.reverse();
    chosen
}
