//! The global optimum of 1-D k-means with fp16 centers.
//!
//! The squared error of an interval around the best fp16 center has the quadrangle inequality ("concave Monge"). So the
//! least error of `k` intervals is convex in `k`, and for some penalty per interval the best partition into any number of
//! intervals has `k` of them (Aggarwal, Schieber, Tokuyama 1994). One pass finds the best partition for a penalty
//! ([`Paths`]); the penalty is searched for. Where no penalty has exactly `k`, because several numbers of intervals are
//! equally good, the partitions for too few and too many are joined.
//!
//! Every result is checked by duality: no partition into `k` intervals is better than the least penalized error less `k`
//! penalties. If that bound is missed, because sums lost precision, [`divide`] decides.

use crate::divide;
use crate::paths::{Costs, Paths};
use crate::sums::PrefixSums;

/// How far an error may be above its lower bound, as a part of it.
const TOLERANCE: f64 = 1e-10;

/// The most penalties that are tried; the bracket of penalties is as narrow as their precision before.
const MAX_PENALTIES: usize = 200;

/// How far to look for the other end of the bracket.
const STEP: f64 = 16.0;

/// After this many penalties, the bracket is halved instead of following the law for fine partitions.
const MAX_GUESSES: usize = 12;

/// Means of the optimal intervals; there must be more values than centers. `bounds` are those of a good partition.
pub(crate) fn centers(sums: &PrefixSums, good: &[usize]) -> Vec<f64> {
    let costs = Costs::new(sums);
    let centers = good.len() - 1;
    let bounds = match by_penalty(&costs, good) {
        Some(bounds) => bounds,
        None => divide::bounds(&costs, centers),
    };
    bounds.windows(2).map(|pair| sums.mean(pair[0], pair[1])).collect()
}

/// A penalty, and the bounds of the best partition for it.
type Penalized = (f64, Vec<usize>);

/// The optimal bounds of as many intervals as a good partition has, if they are proven to be.
pub(crate) fn by_penalty(costs: &Costs, good: &[usize]) -> Option<Vec<usize>> {
    let centers = good.len() - 1;
    let error_of = |bounds: &[usize]| bounds.windows(2).map(|pair| costs.of(pair[0], pair[1])).sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "at most 65,536 intervals")]
    let number = |count: usize| count as f64;
    let mut paths = Paths::default();
    // Partitions that are too fine and too coarse, with their penalties.
    let (mut fine, mut coarse) = (None::<Penalized>, None::<Penalized>);
    // The error of fine partitions falls with the square of their number, so its slope is twice the error per interval.
    let mut penalty = 2.0 * error_of(good) / number(centers);
    for trial in 0..MAX_PENALTIES {
        let penalized = paths.find(costs, penalty);
        let bounds = paths.bounds();
        let count = bounds.len() - 1;
        let proven = |bounds: &[usize]| {
            let least = penalized - penalty * number(centers);
            error_of(bounds) - least <= TOLERANCE * least
        };
        let guess = if count == centers {
            if proven(&bounds) {
                return Some(bounds);
            }
            // A penalty far above all errors hides them. The least that leads to as many intervals is below the error.
            2.0 * error_of(&bounds) / number(centers)
        } else {
            // The penalty falls with the third power of the number of intervals.
            penalty * (number(count) / number(centers)).powi(3)
        };
        if count > centers {
            fine = Some((penalty, bounds));
        } else {
            coarse = Some((penalty, bounds));
        }
        if let (Some((_, coarse)), Some((_, fine))) = (&coarse, &fine)
            && let Some(joined) = join(coarse, fine, centers)
            && proven(&joined)
        {
            return Some(joined);
        }
        let low = fine.as_ref().map(|(penalty, _)| *penalty);
        let high = coarse.as_ref().map(|(penalty, _)| *penalty);
        let between = |penalty: f64| low.is_none_or(|low| low < penalty) && high.is_none_or(|high| penalty < high);
        let middle = match (low, high) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * STEP,
            (None, high) => high.unwrap_or(penalty) / STEP,
        };
        if !between(middle) {
            return None;
        }
        penalty = if trial < MAX_GUESSES && between(guess) { guess } else { middle };
    }
    None
}

/// A partition into `centers` intervals that is as good as a coarser and a finer one that are equally good.
///
/// Where an interval of the fine one lies inside one of the coarse one, with as many intervals too many before it as
/// behind, the coarse partition is left for the fine one.
fn join(coarse: &[usize], fine: &[usize], centers: usize) -> Option<Vec<usize>> {
    let shift = fine.len() - 1 - centers;
    let leave = (0..coarse.len() - 1).find(|index| {
        let inside = fine.get(index + shift).zip(fine.get(index + shift + 1));
        inside.is_some_and(|(start, end)| coarse[*index] <= *start && *end <= coarse[index + 1])
    })?;
    Some(coarse[..=leave].iter().chain(&fine[leave + shift + 1..]).copied().collect())
}
