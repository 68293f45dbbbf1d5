//! `reduce_log_sum_exp`: the logarithm of a sum of exponentials over some axes.

use super::decl::{Effect, OpDecl, Results, pending};
use super::reduce::{OVER_AXES, infer_over_axes};
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
    evaluate: Evaluate::Computes(pending),
};
