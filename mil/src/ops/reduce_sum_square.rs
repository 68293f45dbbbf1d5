//! `reduce_sum_square`: the sum of squares over some axes.

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::reduce::{OVER_AXES, infer_over_axes, over_axes, single, square, sum};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_sum_square",
    doc: "Adds up the squares of the elements of `x` over `axes`.",
    since: Opset::Ios15,
    parameters: OVER_AXES,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_over_axes,
    evaluate: Evaluate::Computes(|call| {
        over_axes(
            call,
            |lane| Some(single(sum(lane, square))),
            |lane| Some(lane.iter().fold(0, |sum, x| sum.wrapping_add(x.wrapping_mul(*x)))),
        )
    }),
    evidence: Evidence::None,
    renewed: &[Opset::Ios16],
};
