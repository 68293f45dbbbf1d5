//! What elementwise ops share: parameters and type inference.

use super::decl::{FLOATS, InferError, NUMBERS, OpContext, Parameter};
use super::shape::{broadcast, same_dtype};
use crate::dtype::DataType;
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
