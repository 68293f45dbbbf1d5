//! The global optimum of 1-D k-means by dynamic programming.

use crate::sums::PrefixSums;

/// Means of the optimal intervals; there must be more values than centers.
///
/// The split points of optimal solutions do not decrease with the number of values, so each layer is filled by divide and
/// conquer: O(d log d) per center, with a table of `centers * d` split points for the way back.
pub(crate) fn centers(sums: &PrefixSums, centers: usize) -> Vec<f64> {
    let count = sums.len();
    let mut cost: Vec<f64> = (0..=count).map(|end| sums.cost(0, end)).collect();
    let mut splits: Vec<Vec<u32>> = Vec::with_capacity(centers);
    for center in 1..centers {
        let mut next = vec![f64::INFINITY; count + 1];
        let mut split = vec![0; count + 1];
        fill(sums, &cost, &mut next, &mut split, (center + 1, count), (center, count - 1));
        cost = next;
        splits.push(split);
    }
    let mut end = count;
    let mut means = Vec::with_capacity(centers);
    for split in splits.iter().rev() {
        let start = split[end] as usize;
        means.push(sums.mean(start, end));
        end = start;
    }
    means.push(sums.mean(0, end));
    means.reverse();
    means
}

/// Fills `next[low..=high]`, whose best splits lie in `first..=last`.
fn fill(
    sums: &PrefixSums,
    cost: &[f64],
    next: &mut [f64],
    split: &mut [u32],
    (low, high): (usize, usize),
    (first, last): (usize, usize),
) {
    if low > high {
        return;
    }
    let middle = usize::midpoint(low, high);
    let (mut best, mut at) = (f64::INFINITY, first);
    for (candidate, before) in cost.iter().enumerate().take(middle.min(last + 1)).skip(first) {
        let total = before + sums.cost(candidate, middle);
        if total < best {
            (best, at) = (total, candidate);
        }
    }
    next[middle] = best;
    split[middle] = u32::try_from(at).unwrap_or(u32::MAX);
    fill(sums, cost, next, split, (low, middle - 1), (first, at));
    fill(sums, cost, next, split, (middle + 1, high), (at, last));
}
