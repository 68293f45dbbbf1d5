//! The optimum by dynamic programming over the number of intervals, in memory for the values alone.
//!
//! The best start of the last interval does not decrease with the end, so each number of intervals takes O(d log d) by
//! divide and conquer (Grønlund et al. 2017). Only where the middle bound lies is kept on the way; the halves on both
//! sides of it are solved anew, which doubles the time and keeps memory at O(d) (Hirschberg 1975).

use crate::paths::Costs;

/// The best bounds of `centers` intervals of all values; there must be at least as many values.
pub(crate) fn bounds(costs: &Costs, centers: usize) -> Vec<usize> {
    let mut bounds = vec![0];
    split(costs, (0, costs.len()), centers, &mut bounds);
    bounds
}

/// Appends the bounds after `start` of `centers` intervals of the values `start..end`.
fn split(costs: &Costs, (start, end): (usize, usize), centers: usize, bounds: &mut Vec<usize>) {
    if centers <= 1 {
        bounds.push(end);
        return;
    }
    let left = centers / 2;
    let count = end - start;
    let mut layer = Layer {
        costs,
        start,
        error: (0..=count).map(|at| if at == 0 { 0.0 } else { costs.of(start, start + at) }).collect(),
        next: vec![f64::INFINITY; count + 1],
        best: vec![0; count + 1],
    };
    let mut middle: Vec<usize> = (0..=count).collect();
    for center in 2..=centers {
        layer.fill((center, count), (center - 1, count - 1));
        if center > left {
            // Where the bound behind the left half lies, on the best way to each end.
            middle = layer.best.iter().map(|best| middle[*best]).collect();
        }
        std::mem::swap(&mut layer.error, &mut layer.next);
    }
    let middle = start + middle[count];
    split(costs, (start, middle), left, bounds);
    split(costs, (middle, end), centers - left, bounds);
}

/// The errors of one interval more.
struct Layer<'a> {
    costs: &'a Costs,
    /// The first value.
    start: usize,
    /// The least error for each end, and that of one interval more.
    error: Vec<f64>,
    next: Vec<f64>,
    /// Where the last of these intervals starts.
    best: Vec<usize>,
}

impl Layer<'_> {
    /// Fills in the ends `low..=high`, whose best starts lie in `first..=last`.
    fn fill(&mut self, (low, high): (usize, usize), (first, last): (usize, usize)) {
        if low > high {
            return;
        }
        let middle = usize::midpoint(low, high);
        let (mut least, mut best) = (f64::INFINITY, first);
        for from in first..=last.min(middle - 1) {
            let error = self.error[from] + self.costs.of(self.start + from, self.start + middle);
            if error < least {
                (least, best) = (error, from);
            }
        }
        self.next[middle] = least;
        self.best[middle] = best;
        self.fill((low, middle - 1), (first, best));
        self.fill((middle + 1, high), (best, last));
    }
}
