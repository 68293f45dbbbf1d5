//! `reduce_l2_norm`: the Euclidean norm over some axes.

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::reduce::{OVER_AXES, infer_over_axes, over_axes, single, square, sum, truncated};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_l2_norm",
    doc: "Takes the root of the sum of squares of `x` over `axes`.",
    since: Opset::Ios15,
    parameters: OVER_AXES,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_over_axes,
    evaluate: Evaluate::Computes(|call| {
        over_axes(
            call,
            |lane| Some(single(sum(lane, square).sqrt())),
            |lane| Some(truncated(lane.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt())),
        )
    }),
    evidence: Evidence::None,
    renewed: &[Opset::Ios16],
};
