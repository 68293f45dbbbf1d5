//! The best bounds among a few candidates for each.
//!
//! Every bound between two intervals has [`WIDTH`] candidates near where it stands; the best choice for all bounds together
//! is found by dynamic programming over neighbouring bounds, `WIDTH²` interval costs each. Unlike a step of Lloyd's
//! algorithm, bounds move together and over the hills between local optima.

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

/// Scratch memory and the result of the search.
#[derive(Debug, Default)]
pub(crate) struct Corridor {
    layers: Vec<Layer>,
    chosen: Vec<usize>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(formatter)
    }
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

impl Corridor {
    /// Moves each inner bound to one of its candidates, so that the error is the least that candidates allow.
    ///
    /// `candidates[index]` belongs to `bounds[index + 1]`; the bounds must be strictly ascending for some choice of them.
    /// Gives the chosen candidate of each.
    pub(crate) fn search(&mut self, sums: &PrefixSums, candidates: &[[usize; WIDTH]]) -> &[usize] {
        let origin = Layer { error: [0.0; WIDTH], ..Layer::at(sums, &[0; WIDTH]) };
        self.layers.clear();
        for candidates in candidates {
            let mut layer = Layer::at(sums, candidates);
            match self.layers.last() {
                None => layer.relax(&origin, 0),
                Some(before) => (0..WIDTH).for_each(|from| layer.relax(before, from)),
            }
            self.layers.push(layer);
        }
        self.chosen.clear();
        let end = sums.len();
        let (mut mass, mut first, mut second) = (sums.mass[end], sums.first[end], sums.second[end]);
        for layer in self.layers.iter().rev() {
            let (mut best, mut at) = (f64::INFINITY, 0);
            for from in 0..WIDTH {
                let total = layer.error[from]
                    + cost(mass - layer.mass[from], first - layer.first[from], second - layer.second[from]);
                if total < best {
                    (best, at) = (total, from);
                }
            }
            self.chosen.push(at);
            (mass, first, second) = (layer.mass[at], layer.first[at], layer.second[at]);
        }
        self.chosen.reverse();
        &self.chosen
    }
}
