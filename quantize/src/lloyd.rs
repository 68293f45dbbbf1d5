//! Lloyd's algorithm on prefix sums, from a density-aware start, with moves of single entries afterwards.

use crate::sums::PrefixSums;

/// Quantile bins per entry that the start looks at.
const BINS_PER_CENTER: usize = 8;

/// Iterations after which a start is taken as it is; convergence takes fewer by far.
const MAX_ITERATIONS: usize = 1000;

/// Means of the `centers` intervals that the values are split into; there must be more values than centers.
pub(crate) fn centers(sums: &PrefixSums, centers: usize) -> Vec<f64> {
    let mut bounds = start(sums, centers);
    iterate(sums, &mut bounds);
    move_entries(sums, &mut bounds);
    bounds.windows(2).map(|pair| sums.mean(pair[0], pair[1])).collect()
}

/// Bounds of intervals: interval `i` is `bounds[i]..bounds[i + 1]`; none is empty.
fn start(sums: &PrefixSums, centers: usize) -> Vec<usize> {
    let bins = (centers * BINS_PER_CENTER).min(sums.len());
    let edges = quantile_edges(sums, bins);
    // A bin of equal weight and width h has density 1/h; its share of entries goes with density^(1/3) * h = h^(2/3).
    let mut cumulative = vec![0.0];
    let mut total = 0.0;
    for pair in edges.windows(2) {
        let width = upper_edge(sums, pair[1]) - upper_edge(sums, pair[0]);
        total += width.max(0.0).powf(2.0 / 3.0);
        cumulative.push(total);
    }
    let mut bounds = Vec::with_capacity(centers + 1);
    bounds.push(0);
    let mut bin = 0;
    for center in 1..centers {
        #[expect(clippy::cast_precision_loss, reason = "at most 256 entries")]
        let target = total * center as f64 / centers as f64;
        while bin + 2 < cumulative.len() && cumulative[bin + 1] < target {
            bin += 1;
        }
        let span = cumulative[bin + 1] - cumulative[bin];
        let share = if span > 0.0 { ((target - cumulative[bin]) / span).clamp(0.0, 1.0) } else { 0.5 };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a bin of at most 65,536 values"
        )]
        let offset = ((edges[bin + 1] - edges[bin]) as f64 * share) as usize;
        bounds.push(edges[bin] + offset);
    }
    bounds.push(sums.len());
    make_nonempty(&mut bounds);
    bounds
}

/// Indices that split the values into `bins` nonempty runs of nearly equal weight.
fn quantile_edges(sums: &PrefixSums, bins: usize) -> Vec<usize> {
    let total = sums.mass(0, sums.len());
    let mut edges = vec![0];
    let mut index = 0;
    for bin in 1..bins {
        #[expect(clippy::cast_precision_loss, reason = "at most 2048 bins")]
        let target = total * bin as f64 / bins as f64;
        while index < sums.len() && sums.mass(0, index) < target {
            index += 1;
        }
        edges.push(index);
    }
    edges.push(sums.len());
    make_nonempty(&mut edges);
    edges
}

/// The upper edge of the values before `index`.
fn upper_edge(sums: &PrefixSums, index: usize) -> f64 {
    sums.values[index.min(sums.len() - 1)]
}

/// Moves bounds the least that leaves no interval empty; there are at least as many values as intervals.
fn make_nonempty(bounds: &mut [usize]) {
    let last = bounds.len() - 1;
    for index in 1..last {
        bounds[index] = bounds[index].max(bounds[index - 1] + 1);
    }
    for index in (1..last).rev() {
        bounds[index] = bounds[index].min(bounds[index + 1] - 1);
    }
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
