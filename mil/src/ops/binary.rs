//! Functions of two elements that have no file of their own: logic and remainders.

use super::decl::{BOOL, InferError, OpContext, OpDecl, Parameter};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, compare_x_y, map_x_y};
use super::evidence::KOKORO;
use crate::evaluate::{Call, EvaluateError, EvaluateFn, Tensor, broadcast_shape, map_pairs};
use crate::types::ValueType;

const BOOL_X_Y: &[Parameter] = &[Parameter::new("x", BOOL), Parameter::new("y", BOOL)];

const fn logical(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, BOOL_X_Y, infer_logical).moves(evaluate)
}

/// Conjunction.
pub static LOGICAL_AND: OpDecl =
    logical("logical_and", "Whether both `x` and `y` are true.", |call| map_bools(call, |x, y| x && y)).seen(KOKORO);
/// Disjunction.
pub static LOGICAL_OR: OpDecl =
    logical("logical_or", "Whether `x` or `y` is true.", |call| map_bools(call, |x, y| x || y));
/// Exclusive disjunction.
pub static LOGICAL_XOR: OpDecl =
    logical("logical_xor", "Whether only one of `x` and `y` is true.", |call| map_bools(call, |x, y| x != y));
/// Remainder.
pub static MOD: OpDecl =
    OpDecl::new("mod", "The remainder of `x` by `y`, with the sign of `y`.", NUMBER_X_Y, broadcast_x_y)
        .computes(|call| map_x_y(call, modulo, modulo_integers));

fn infer_logical(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    compare_x_y(ctx)
}

fn map_bools(call: &mut Call<'_>, function: impl Fn(bool, bool) -> bool) -> Result<Vec<Tensor>, EvaluateError> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let shape = broadcast_shape(x.shape(), y.shape())?;
    let values = map_pairs(&shape, (x.as_bools()?, x.shape()), (y.as_bools()?, y.shape()), function);
    Ok(vec![Tensor::bools(&shape, values)?])
}

/// The remainder of the division that is rounded down, as Python and NumPy have it.
fn modulo(x: f32, y: f32) -> f32 {
    let remainder = x % y;
    if remainder != 0.0 && (remainder < 0.0) != (y < 0.0) { remainder + y } else { remainder }
}

/// By 0 it is 0, as in NumPy.
fn modulo_integers(x: i32, y: i32) -> i32 {
    if y == 0 {
        return 0;
    }
    let remainder = x.wrapping_rem(y);
    if remainder != 0 && (remainder < 0) != (y < 0) { remainder + y } else { remainder }
}
