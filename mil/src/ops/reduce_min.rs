//! `reduce_min`: the smallest element over some axes.

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::elementwise::smaller;
use super::reduce::{OVER_AXES, infer_over_axes, over_axes};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_min",
    doc: "Finds the smallest element of `x` over `axes`.",
    since: Opset::Ios15,
    parameters: OVER_AXES,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_over_axes,
    evaluate: Evaluate::Computes(|call| {
        over_axes(call, |lane| lane.iter().copied().reduce(smaller), |lane| lane.iter().copied().min())
    }),
    evidence: Evidence::None,
    renewed: &[Opset::Ios16],
};
