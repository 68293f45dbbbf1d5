//! Reductions that have no file of their own: products, sums of magnitudes, and logarithms of sums.

use super::decl::{Infer, OpDecl};
use super::reduce::{OVER_AXES, infer_over_axes, over_axes, single, truncated};
use crate::evaluate::EvaluateFn;

const fn over(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    const INFER: Infer = infer_over_axes;
    OpDecl::new(name, doc, OVER_AXES, INFER).computes(evaluate)
}

/// Sums of magnitudes.
pub static REDUCE_L1_NORM: OpDecl = over("reduce_l1_norm", "The sum of the magnitudes of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(lane.iter().map(|x| f64::from(x.abs())).sum())),
        |lane| Some(lane.iter().fold(0_i32, |sum, x| sum.wrapping_add(x.wrapping_abs()))),
    )
});
/// Logarithms of sums.
pub static REDUCE_LOG_SUM: OpDecl = over("reduce_log_sum", "The logarithm of the sum of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(lane.iter().map(|x| f64::from(*x)).sum::<f64>().ln())),
        |lane| (!lane.is_empty()).then(|| truncated(lane.iter().map(|x| f64::from(*x)).sum::<f64>().ln())),
    )
});
/// Products.
pub static REDUCE_PROD: OpDecl = over("reduce_prod", "The product of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(lane.iter().map(|x| f64::from(*x)).product())),
        |lane| Some(lane.iter().fold(1_i32, |product, x| product.wrapping_mul(*x))),
    )
});
