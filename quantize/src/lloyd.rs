//! Lloyd's algorithm on prefix sums, from a density-aware start, with moves of single entries afterwards.

use crate::corridor::Corridor;
use crate::start;
use crate::sums::PrefixSums;

/// Iterations after which a start is taken as it is; convergence takes fewer by far.
const MAX_ITERATIONS: usize = 1000;

/// Bounds of the `centers` intervals that the values are split into; there must be more values than centers.
pub(crate) fn bounds(sums: &PrefixSums, centers: usize) -> Vec<usize> {
    let mut corridor = Corridor::default();
    let mut bounds = start::bounds(sums, centers, &mut corridor);
    iterate(sums, &mut bounds);
    move_entries(sums, &mut bounds);
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

/// Takes entries from where two neighbours lose least by merging to where an interval gains most by splitting, as long as
/// that lowers the error.
fn move_entries(sums: &PrefixSums, bounds: &mut Vec<usize>) {
    let centers = bounds.len() - 1;
    if centers < 3 {
        return;
    }
    let total = |bounds: &[usize]| bounds.windows(2).map(|pair| sums.cost(pair[0], pair[1])).sum::<f64>();
    let mut best = total(bounds);
    for _ in 0..centers {
        let split = (0..centers)
            .filter_map(|index| Some((index, split_gain(sums, bounds[index], bounds[index + 1])?)))
            .max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let Some((split, (at, gain))) = split else { return };
        let merge = (1..centers)
            .filter(|index| *index != split && *index != split + 1)
            .map(|index| {
                let [start, middle, end] = [bounds[index - 1], bounds[index], bounds[index + 1]];
                (index, sums.cost(start, end) - sums.cost(start, middle) - sums.cost(middle, end))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((merge, loss)) = merge else { return };
        if gain <= loss {
            return;
        }
        let mut candidate = bounds.clone();
        candidate[merge] = at;
        candidate.sort_unstable();
        iterate(sums, &mut candidate);
        let cost = total(&candidate);
        if cost >= best {
            return;
        }
        best = cost;
        *bounds = candidate;
    }
}

/// Where to split an interval in two, and what that saves; nothing for an interval of one value.
fn split_gain(sums: &PrefixSums, start: usize, end: usize) -> Option<(usize, f64)> {
    if end < start + 2 {
        return None;
    }
    let mut bounds = [start, search(sums, start, sums.mean(start, end)).clamp(start + 1, end - 1), end];
    iterate(sums, &mut bounds);
    let [_, middle, _] = bounds;
    Some((middle, sums.cost(start, end) - sums.cost(start, middle) - sums.cost(middle, end)))
}
