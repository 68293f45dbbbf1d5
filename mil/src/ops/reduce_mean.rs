//! `reduce_mean`: the mean over some axes.

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::reduce::{OVER_AXES, infer_over_axes, over_axes, single, sum, truncated};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_mean",
    doc: "Averages the elements of `x` over `axes`.",
    since: Opset::Ios15,
    parameters: OVER_AXES,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_over_axes,
    evaluate: Evaluate::Computes(|call| over_axes(call, |lane| Some(mean(lane)), mean_of_integers)),
    evidence: Evidence::None,
    renewed: &[Opset::Ios16],
};

#[expect(clippy::cast_precision_loss, reason = "counts of elements are far below 2^53")]
fn mean(lane: &[f32]) -> f32 {
    single(sum(lane, f64::from) / lane.len() as f64)
}

/// Core ML's integers drop the fraction.
#[expect(clippy::cast_precision_loss, reason = "counts of elements are far below 2^53")]
fn mean_of_integers(lane: &[i32]) -> Option<i32> {
    let sum: f64 = lane.iter().map(|x| f64::from(*x)).sum();
    (!lane.is_empty()).then(|| truncated(sum / lane.len() as f64))
}
