//! Reductions over axes: sums, products, extremes and where they are.

use std::cmp::Ordering;

use super::decl::OpDecl;
use super::elementwise::{larger, smaller};
use super::evidence::{FLUID_AUDIO, PARAKEET, WATCH};
use super::reduce::{
    INDEX_ALONG_AXIS, OVER_AXES, index_along_axis, infer_index_along_axis, infer_over_axes, over_axes, single, square,
    sum, truncated,
};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::EvaluateFn;
use crate::opset::Opset;
use crate::value::Value;

const fn over(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, OVER_AXES, infer_over_axes).computes(evaluate).renewed(&[Opset::Ios16])
}

/// Sums of magnitudes.
pub static REDUCE_L1_NORM: OpDecl = over("reduce_l1_norm", "The sum of the magnitudes of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(lane.iter().map(|x| f64::from(x.abs())).sum())),
        |lane| Some(lane.iter().fold(0_i32, |sum, x| sum.wrapping_add(x.wrapping_abs()))),
    )
})
.seen(WATCH);
/// Logarithms of sums.
pub static REDUCE_LOG_SUM: OpDecl = over("reduce_log_sum", "The logarithm of the sum of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(lane.iter().map(|x| f64::from(*x)).sum::<f64>().ln())),
        |lane| (!lane.is_empty()).then(|| truncated(lane.iter().map(|x| f64::from(*x)).sum::<f64>().ln())),
    )
})
.seen(WATCH);
/// Products.
pub static REDUCE_PROD: OpDecl = over("reduce_prod", "The product of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(lane.iter().map(|x| f64::from(*x)).product())),
        |lane| Some(lane.iter().fold(1_i32, |product, x| product.wrapping_mul(*x))),
    )
})
.seen(WATCH);
/// Roots of sums of squares.
pub static REDUCE_L2_NORM: OpDecl =
    over("reduce_l2_norm", "Takes the root of the sum of squares of `x` over `axes`.", |call| {
        over_axes(
            call,
            |lane| Some(single(sum(lane, square).sqrt())),
            |lane| Some(truncated(lane.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt())),
        )
    })
    .seen(WATCH);
/// Logarithms of sums of exponentials.
pub static REDUCE_LOG_SUM_EXP: OpDecl =
    over("reduce_log_sum_exp", "Computes `log(sum(exp(x)))` over `axes`.", |call| {
        over_axes(
            call,
            |lane| Some(single(log_sum_exp(lane.iter().map(|x| f64::from(*x))))),
            |lane| (!lane.is_empty()).then(|| truncated(log_sum_exp(lane.iter().map(|x| f64::from(*x))))),
        )
    })
    .seen(WATCH);
/// Largest elements.
pub static REDUCE_MAX: OpDecl = over("reduce_max", "Finds the largest element of `x` over `axes`.", |call| {
    over_axes(call, |lane| lane.iter().copied().reduce(larger), |lane| lane.iter().copied().max())
})
.seen(FLUID_AUDIO);
/// Means.
pub static REDUCE_MEAN: OpDecl = over("reduce_mean", "Averages the elements of `x` over `axes`.", |call| {
    over_axes(call, |lane| Some(mean(lane)), mean_of_integers)
})
.seen(WATCH);
/// Smallest elements.
pub static REDUCE_MIN: OpDecl = over("reduce_min", "Finds the smallest element of `x` over `axes`.", |call| {
    over_axes(call, |lane| lane.iter().copied().reduce(smaller), |lane| lane.iter().copied().min())
})
.seen(WATCH);
/// Sums.
pub static REDUCE_SUM: OpDecl = over("reduce_sum", "Adds up the elements of `x` over `axes`.", |call| {
    over_axes(
        call,
        |lane| Some(single(sum(lane, f64::from))),
        |lane| Some(lane.iter().fold(0, |sum, x| sum.wrapping_add(*x))),
    )
})
.seen(PARAKEET);
/// Sums of squares.
pub static REDUCE_SUM_SQUARE: OpDecl =
    over("reduce_sum_square", "Adds up the squares of the elements of `x` over `axes`.", |call| {
        over_axes(
            call,
            |lane| Some(single(sum(lane, square))),
            |lane| Some(lane.iter().fold(0, |sum, x| sum.wrapping_add(x.wrapping_mul(*x)))),
        )
    })
    .seen(WATCH);
/// Places of largest elements.
pub static REDUCE_ARGMAX: OpDecl = OpDecl::new(
    "reduce_argmax",
    "Finds the index of the largest element of `x` along `axis`.",
    INDEX_ALONG_AXIS,
    infer_index_along_axis,
)
.moves(|call| index_along_axis(call, Ordering::Greater))
.renewed(&[Opset::Ios16, Opset::Ios17])
.seen(FLUID_AUDIO);
/// Places of smallest elements.
pub static REDUCE_ARGMIN: OpDecl = OpDecl::new(
    "reduce_argmin",
    "Finds the index of the smallest element of `x` along `axis`.",
    INDEX_ALONG_AXIS,
    infer_index_along_axis,
)
.moves(|call| index_along_axis(call, Ordering::Less))
.renewed(&[Opset::Ios17]);

fn log_sum_exp(lane: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = lane.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        // The difference to an infinite number is none; a NaN among the elements still has to show.
        return lane.fold(largest, |sum, x| if x.is_nan() { x } else { sum });
    }
    largest + lane.map(|x| (x - largest).exp()).sum::<f64>().ln()
}

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

impl FunctionBuilder {
    /// Adds up the elements of `x` over `axes`, which stay with length 1 where `keep_dims` is set.
    pub fn reduce_sum(&mut self, name: &str, x: &Var, axes: &[i32], keep_dims: bool) -> Result<Var, BuildError> {
        self.call(&REDUCE_SUM, name)
            .operand("x", x)
            .constant("axes", Value::int32s(axes))
            .constant("keep_dims", Value::bool(keep_dims))
            .single()
    }

    /// Finds the largest element of `x` over `axes`, which stay with length 1 where `keep_dims` is set.
    pub fn reduce_max(&mut self, name: &str, x: &Var, axes: &[i32], keep_dims: bool) -> Result<Var, BuildError> {
        self.call(&REDUCE_MAX, name)
            .operand("x", x)
            .constant("axes", Value::int32s(axes))
            .constant("keep_dims", Value::bool(keep_dims))
            .single()
    }

    /// Finds the int32 index of the largest element of `x` along `axis`, which stays with length 1 where `keep_dims` is
    /// set.
    pub fn reduce_argmax(&mut self, name: &str, x: &Var, axis: i32, keep_dims: bool) -> Result<Var, BuildError> {
        let names_type = self.opset() >= Opset::Ios17;
        let call = self.call(&REDUCE_ARGMAX, name).operand("x", x).constant("axis", Value::int32(axis));
        let call = call.constant("keep_dims", Value::bool(keep_dims));
        if names_type { call.constant("output_dtype", Value::string("int32")) } else { call }.single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{fp16, int32};
    use crate::opset::Opset;

    #[test]
    fn the_builder_writes_axes_and_keep_dims() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 8, 4]));
        let y = builder.reduce_max("y", &x, &[-1], true).expect("x has three axes");
        assert_eq!(y.ty, fp16(&[1, 8, 1]));
        let function = builder.finish(&[&y]);
        let operation = function.block.operations.last().expect("just added");
        assert_eq!(operation.inputs.keys().collect::<Vec<_>>(), ["axes", "keep_dims", "x"]);
    }

    #[test]
    fn the_builder_writes_every_default() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 8, 4]));
        let y = builder.reduce_argmax("y", &x, -1, false).expect("x has three axes");
        assert_eq!(y.ty, int32(&[1, 8]));
        let function = builder.finish(&[&y]);
        let operation = function.block.operations.last().expect("just added");
        assert_eq!(operation.inputs.keys().collect::<Vec<_>>(), ["axis", "keep_dims", "output_dtype", "x"]);
    }
}
