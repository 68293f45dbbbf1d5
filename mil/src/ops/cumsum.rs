//! `cumsum`: running sums along an axis.

use super::decl::{BOOL, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::evidence::KOKORO;
use super::reduce::single;
use super::shape::axis_or;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "cumsum",
    "Adds up `x` along `axis`, from one end to each element.",
    &[
        Parameter::new("x", NUMBERS),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("exclusive", BOOL).constant().defaulted(),
        Parameter::new("reverse", BOOL).constant().defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(KOKORO);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    axis_or(ctx, "axis", 0, x.rank())?;
    Ok(vec![x.clone().into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (exclusive, reverse) = (call.bool_or("exclusive", false)?, call.bool_or("reverse", false)?);
    let mut x = call.take("x")?;
    let axis = call.axis_or("axis", 0, x.rank())?;
    let shape = x.shape().to_vec();
    if x.dtype().is_float() {
        let add = |sum: &mut f64, value: f32| *sum += f64::from(value);
        running_sums(x.floats_mut()?, along_axis(&shape, axis), (exclusive, reverse), add, single);
        return Ok(vec![x]);
    }
    let mut values = x.as_integers()?.into_owned();
    let add = |sum: &mut i32, value: i32| *sum = sum.wrapping_add(value);
    running_sums(&mut values, along_axis(&shape, axis), (exclusive, reverse), add, |sum| sum);
    Ok(vec![Tensor::integers(x.dtype(), &shape, values)?])
}

/// Replaces each element by the sum up to it, which `exclusive` leaves it out of; `reverse` starts at the other end.
fn running_sums<T: Copy, S: Copy + Default>(
    values: &mut [T],
    [outer, length, inner]: [usize; 3],
    (exclusive, reverse): (bool, bool),
    add: impl Fn(&mut S, T),
    read: impl Fn(S) -> T,
) {
    for outer in 0..outer {
        for column in 0..inner {
            let mut sum = S::default();
            for index in 0..length {
                let index = if reverse { length - 1 - index } else { index };
                let place = &mut values[(outer * length + index) * inner + column];
                let before = sum;
                add(&mut sum, *place);
                *place = read(if exclusive { before } else { sum });
            }
        }
    }
}
