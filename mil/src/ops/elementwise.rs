//! What elementwise ops share: parameters, type inference and evaluation.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::decl::{FLOATS, InferError, NUMBERS, OpContext, Parameter};
use super::shape::{broadcast, same_dtype};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, PARALLEL_FLOATS, Tensor, broadcast_shape, for_each_pair, map_pairs};
use crate::types::{TensorType, ValueType};

/// One floating-point operand `x`.
pub const FLOAT_X: &[Parameter] = &[Parameter::new("x", FLOATS)];
/// One numeric operand `x`.
pub const NUMBER_X: &[Parameter] = &[Parameter::new("x", NUMBERS)];
/// Two numeric operands `x` and `y` of one element type.
pub const NUMBER_X_Y: &[Parameter] =
    &[Parameter::new("x", NUMBERS).group('T'), Parameter::new("y", NUMBERS).group('T')];

/// A result of the type of `x`.
pub fn like_x(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    Ok(vec![ctx.tensor("x")?.clone().into()])
}

/// A result of the element type of `x` and `y`, with their broadcast shape.
pub fn broadcast_x_y(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let y = ctx.tensor("y")?;
    same_dtype("y", x, y)?;
    Ok(vec![TensorType { dtype: x.dtype, shape: broadcast(x, y)? }.into()])
}

/// A boolean result with the broadcast shape of `x` and `y`.
pub fn compare_x_y(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let y = ctx.tensor("y")?;
    same_dtype("y", x, y)?;
    Ok(vec![TensorType { dtype: DataType::Bool, shape: broadcast(x, y)? }.into()])
}

/// `function` of each float of `x`.
pub fn map_floats(call: &mut Call<'_>, function: impl Fn(f32) -> f32 + Sync) -> Result<Vec<Tensor>, EvaluateError> {
    map_slices(call, |values| {
        for value in values {
            *value = function(*value);
        }
    })
}

/// The floats of `x` as `function` changes them, some at a time on each core.
pub fn map_slices(
    call: &mut Call<'_>,
    function: impl Fn(&mut [f32]) + Send + Sync,
) -> Result<Vec<Tensor>, EvaluateError> {
    let mut x = call.take("x")?;
    x.floats_mut()?.par_chunks_mut(PARALLEL_FLOATS).for_each(function);
    Ok(vec![x])
}

/// `floats` or `integers` of each element of `x`.
pub fn map_x(
    call: &mut Call<'_>,
    floats: impl Fn(f32) -> f32 + Sync,
    integers: impl Fn(i32) -> i32,
) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    if x.dtype().is_float() {
        return map_floats(call, floats);
    }
    let values = x.as_integers()?.iter().map(|value| integers(*value)).collect();
    Ok(vec![Tensor::integers(x.dtype(), x.shape(), values)?])
}

/// `floats` or `integers` of each pair of elements of `x` and `y`, in place of `x` where `y` stretches to its shape.
pub fn map_x_y(
    call: &mut Call<'_>,
    floats: impl Fn(f32, f32) -> f32,
    integers: impl Fn(i32, i32) -> i32,
) -> Result<Vec<Tensor>, EvaluateError> {
    let mut x = call.take("x")?;
    let y = call.take("y")?;
    let shape = broadcast_shape(x.shape(), y.shape())?;
    if !x.dtype().is_float() {
        let values = map_pairs(&shape, (&*x.as_integers()?, x.shape()), (&*y.as_integers()?, y.shape()), integers);
        return Ok(vec![Tensor::integers(x.dtype(), &shape, values)?]);
    }
    let y_values = y.as_floats()?;
    if x.shape() != shape {
        let values = map_pairs(&shape, (&*x.as_floats()?, x.shape()), (&*y_values, y.shape()), floats);
        return Ok(vec![Tensor::floats(x.dtype(), &shape, values)?]);
    }
    let values = x.floats_mut()?;
    for_each_pair(&shape, &shape, y.shape(), |x_start, _, y_start, y_step, count| {
        let run = values.get_mut(x_start..x_start + count).unwrap_or_default();
        let y_run = y_values.get(y_start..).unwrap_or_default();
        match (y_step, y_run.first()) {
            (0, Some(y)) => run.iter_mut().for_each(|x| *x = floats(*x, *y)),
            _ => run.iter_mut().zip(y_run).for_each(|(x, y)| *x = floats(*x, *y)),
        }
    });
    Ok(vec![x])
}

/// Whether the order of each pair of elements of `x` and `y` is one that `holds` accepts; what is not a number has none.
pub fn order_x_y(call: &mut Call<'_>, holds: impl Fn(Option<Ordering>) -> bool) -> Result<Vec<Tensor>, EvaluateError> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let shape = broadcast_shape(x.shape(), y.shape())?;
    let values = if x.dtype().is_float() {
        let (x_values, y_values) = (x.as_floats()?, y.as_floats()?);
        map_pairs(&shape, (&*x_values, x.shape()), (&*y_values, y.shape()), |x, y| holds(x.partial_cmp(&y)))
    } else {
        let (x_values, y_values) = (x.as_integers()?, y.as_integers()?);
        map_pairs(&shape, (&*x_values, x.shape()), (&*y_values, y.shape()), |x, y| holds(Some(x.cmp(&y))))
    };
    Ok(vec![Tensor::bools(&shape, values)?])
}

/// The larger float, or the one that is not a number.
pub fn larger(x: f32, y: f32) -> f32 {
    if x > y || x.is_nan() { x } else { y }
}

/// The smaller float, or the one that is not a number.
pub fn smaller(x: f32, y: f32) -> f32 {
    if x < y || x.is_nan() { x } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::ops::{binary, comparison, unary};

    #[test]
    fn every_op_of_the_family_gives_the_type_that_its_kind_gives() {
        use crate::ops::testing::tensor;
        let one = [&unary::ABS, &unary::COS, &unary::ERF, &unary::SIGMOID, &unary::SQRT, &unary::SQUARE, &unary::TANH];
        for decl in one {
            let operands = Operands::default().with("x", fp16(&[2, -1]));
            assert_eq!(operands.infer(decl), Ok(vec![fp16(&[2, -1])]), "{}", decl.name);
        }
        let arithmetic =
            [&binary::FLOOR_DIV, &binary::MAXIMUM, &binary::MINIMUM, &binary::POW, &binary::REAL_DIV, &binary::MOD];
        let comparisons = [
            &comparison::EQUAL,
            &comparison::GREATER,
            &comparison::GREATER_EQUAL,
            &comparison::LESS,
            &comparison::LESS_EQUAL,
            &comparison::NOT_EQUAL,
        ];
        let operands = || Operands::default().with("x", fp16(&[2, 1, 4])).with("y", fp16(&[3, 4]));
        for decl in arithmetic {
            assert_eq!(operands().infer(decl), Ok(vec![fp16(&[2, 3, 4])]), "{}", decl.name);
        }
        for decl in comparisons {
            assert_eq!(operands().infer(decl), Ok(vec![tensor(DataType::Bool, &[2, 3, 4])]), "{}", decl.name);
        }
    }

    #[test]
    fn a_scalar_fits_everything() {
        let operands = Operands::default().with("x", fp16(&[2, -1])).with("y", fp16(&[]));
        assert_eq!(operands.infer(&binary::ADD), Ok(vec![fp16(&[2, -1])]));
    }

    #[test]
    fn a_state_is_no_operand() {
        let state = ValueType::State(TensorType::fixed(DataType::Float16, &[2]));
        assert!(Operands::default().with("x", state).with("y", fp16(&[2])).infer(&binary::ADD).is_err());
    }
}
