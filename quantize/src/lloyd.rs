//! Lloyd's algorithm on prefix sums.

use crate::start;
use crate::sums::PrefixSums;

/// Iterations after which bounds are taken as they are; convergence takes fewer by far.
const MAX_ITERATIONS: usize = 1000;

/// Bounds of the `centers` intervals that the values are split into; there must be more values than centers.
pub(crate) fn bounds(sums: &PrefixSums, centers: usize) -> Vec<usize> {
    let mut bounds = start::bounds(sums, centers);
    iterate(sums, &mut bounds);
    bounds
}

/// Lloyd's algorithm until no bound moves.
fn iterate(sums: &PrefixSums, bounds: &mut [usize]) {
    let last = bounds.len() - 1;
    for _ in 0..MAX_ITERATIONS {
        let mut moved = false;
        let mut below = sums.mean(bounds[0], bounds[1]);
        for index in 1..last {
            let above = sums.mean(bounds[index], bounds[index + 1]);
            let middle = f64::midpoint(below, above);
            below = above;
            let bound = search(sums, bounds[index], middle);
            if bound != bounds[index] {
                moved = true;
                // No value may be nearest to a mean that lies in a gap; the clamp keeps one for every interval.
                bounds[index] = bound.clamp(bounds[index - 1] + 1, bounds[index + 1] - 1);
            }
        }
        if !moved {
            return;
        }
    }
}

/// The number of values below or at `middle`, looked for near `guess` first.
fn search(sums: &PrefixSums, guess: usize, middle: f64) -> usize {
    let values = &sums.values;
    let mut step = 1;
    let (mut low, mut high) = (guess, guess);
    if guess < values.len() && values[guess] <= middle {
        while high < values.len() && values[high] <= middle {
            low = high;
            high = (high + step).min(values.len());
            step *= 2;
        }
    } else {
        while low > 0 && values[low - 1] > middle {
            high = low;
            low = low.saturating_sub(step);
            step *= 2;
        }
    }
    low + values[low..high].partition_point(|value| *value <= middle)
}
