//! Where Lloyd's algorithm starts: the best bounds on a grid that is as dense as the levels of a good quantizer.
//!
//! A quantizer of many levels has the least error where the density of its levels is proportional to the cube root of the
//! density of the values (Panter and Dite 1951). On a grid with that density, several lines for each interval, the global
//! optimum is cheap; then each bound moves between the lines beside its own.

use crate::corridor::{self, WIDTH};
use crate::exact;
use crate::paths::Costs;
use crate::sums::PrefixSums;

/// Grid lines per interval.
const LINES: usize = 8;

/// Runs of values per interval of which the density is taken.
const RUNS: usize = 16;

/// The fewest runs.
const MIN_RUNS: usize = 256;

/// More lines, this many values from the least and from the largest: few values of a heavy tail may be worth an interval.
const DISTANCES_FROM_ENDS: [usize; 15] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];

/// How often the shares of single runs are limited: each time the sum of all falls, and the limit with it.
const LIMITS: usize = 3;

/// Bounds of intervals: interval `i` is `bounds[i]..bounds[i + 1]`; none is empty. There are more values than intervals.
pub(crate) fn bounds(sums: &PrefixSums, centers: usize) -> Vec<usize> {
    let grid = grid(sums, centers);
    let equal: Vec<usize> = (0..=centers).map(|center| center * (grid.len() - 1) / centers).collect();
    let lines = exact::by_penalty(&Costs::at(sums, &grid), &equal).unwrap_or(equal);
    let candidates: Vec<_> =
        lines[1..centers].iter().map(|line| between(grid[line - 1], grid[*line], grid[line + 1])).collect();
    std::iter::once(0).chain(corridor::search(sums, &candidates)).chain([sums.len()]).collect()
}

/// Candidates from above `low` to below `high`, with `middle` among them.
fn between(low: usize, middle: usize, high: usize) -> [usize; WIDTH] {
    const HALF: usize = WIDTH / 2;
    std::array::from_fn(|offset| match offset.checked_sub(HALF) {
        None => low + 1 + (middle - low - 1) * offset / HALF,
        Some(offset) => middle + (high - middle) * offset / HALF,
    })
}

/// Strictly ascending indices of values, from 0 to their number, at least one more than there are intervals.
#[expect(clippy::cast_precision_loss, reason = "at most 256 intervals of 16 lines")]
fn grid(sums: &PrefixSums, centers: usize) -> Vec<usize> {
    let count = sums.len();
    let lines = centers * LINES;
    if count <= lines {
        return (0..=count).collect();
    }
    let runs = (centers * RUNS).max(MIN_RUNS).min(count);
    let edges: Vec<usize> = (0..=runs).map(|run| run * count / runs).collect();
    let mut shares: Vec<f64> = edges.windows(2).map(|edge| share(sums, edge[0], edge[1])).collect();
    // A wide gap between two values deserves no more than one interval.
    for _ in 0..LIMITS {
        let limit = shares.iter().sum::<f64>() / centers as f64;
        for share in &mut shares {
            *share = share.min(limit);
        }
    }
    let step = shares.iter().sum::<f64>() / lines as f64;
    let mut grid = Vec::with_capacity(lines + 1);
    grid.push(0);
    let (mut run, mut before) = (0, 0.0);
    for line in 1..lines {
        let target = step * line as f64;
        while run + 1 < runs && before + shares[run] < target {
            before += shares[run];
            run += 1;
        }
        let part = if shares[run] > 0.0 { (target - before) / shares[run] } else { 0.5 };
        grid.push(edges[run] + part_of(edges[run + 1] - edges[run], part));
    }
    grid.push(count);
    make_ascending(&mut grid);
    for distance in DISTANCES_FROM_ENDS.into_iter().take_while(|distance| 2 * distance < count) {
        grid.extend([distance, count - distance]);
    }
    grid.sort_unstable();
    grid.dedup();
    grid
}

/// The share of levels that some values get: the cube root of their density, times their width.
fn share(sums: &PrefixSums, start: usize, end: usize) -> f64 {
    let width = sums.values[end.min(sums.len() - 1)] - sums.values[start];
    cube_root(sums.mass(start, end) * width * width)
}

/// To a part in a thousand, for numbers that are not negative: only proportions matter.
fn cube_root(number: f64) -> f64 {
    /// Two thirds of the exponent bias, less what makes the error of the first guess even.
    const GUESS: u64 = 0x2a9f_7893_0000_0000;
    if number <= f64::MIN_POSITIVE {
        return 0.0;
    }
    let guess = f64::from_bits(number.to_bits() / 3 + GUESS);
    let cube = guess * guess * guess;
    // A step of Halley's method.
    guess * ((cube + 2.0 * number) / (2.0 * cube + number))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of at most 65,536 values"
)]
fn part_of(count: usize, part: f64) -> usize {
    (count as f64 * part.clamp(0.0, 1.0)) as usize
}

/// Moves indices the least that makes them strictly ascending; the first and the last stay.
fn make_ascending(indices: &mut [usize]) {
    let last = indices.len() - 1;
    for index in 1..last {
        indices[index] = indices[index].max(indices[index - 1] + 1);
    }
    for index in (1..last).rev() {
        indices[index] = indices[index].min(indices[index + 1] - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_close_for_all_magnitudes() {
        for exponent in -300..300 {
            let number = 1.37 * 10_f64.powi(exponent);
            assert!((cube_root(number) / number.cbrt() - 1.0).abs() < 1e-3, "{number}");
        }
        assert!(cube_root(0.0).abs() < f64::MIN_POSITIVE);
    }
}
