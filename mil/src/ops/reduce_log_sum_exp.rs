//! `reduce_log_sum_exp`: the logarithm of a sum of exponentials over some axes.

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::reduce::{OVER_AXES, infer_over_axes, over_axes, single, truncated};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_log_sum_exp",
    doc: "Computes `log(sum(exp(x)))` over `axes`.",
    since: Opset::Ios15,
    parameters: OVER_AXES,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_over_axes,
    evaluate: Evaluate::Computes(|call| {
        over_axes(
            call,
            |lane| Some(single(log_sum_exp(lane.iter().map(|x| f64::from(*x))))),
            |lane| (!lane.is_empty()).then(|| truncated(log_sum_exp(lane.iter().map(|x| f64::from(*x))))),
        )
    }),
    evidence: Evidence::None,
    renewed: &[Opset::Ios16],
};

fn log_sum_exp(lane: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = lane.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        // The difference to an infinite number is none; a NaN among the elements still has to show.
        return lane.fold(largest, |sum, x| if x.is_nan() { x } else { sum });
    }
    largest + lane.map(|x| (x - largest).exp()).sum::<f64>().ln()
}
