//! Functions of two elements: arithmetic and logic.

use super::decl::{BOOL, InferError, OpContext, OpDecl, Parameter};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, compare_x_y, larger, map_x_y, smaller};
use super::evidence::{KOKORO, PARAKEET, SILERO, WATCH};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, EvaluateFn, Tensor, broadcast_shape, map_pairs};
use crate::types::ValueType;

const BOOL_X_Y: &[Parameter] = &[Parameter::new("x", BOOL), Parameter::new("y", BOOL)];

const fn logical(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, BOOL_X_Y, infer_logical).moves(evaluate)
}

const fn arithmetic(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, NUMBER_X_Y, broadcast_x_y).computes(evaluate)
}

/// Sum.
pub static ADD: OpDecl =
    arithmetic("add", "Adds `x` and `y` element by element.", |call| map_x_y(call, |x, y| x + y, i32::wrapping_add))
        .seen(SILERO);
/// Division, rounded down.
pub static FLOOR_DIV: OpDecl = arithmetic("floor_div", "Divides `x` by `y` and rounds down.", |call| {
    map_x_y(call, floor_divide, floor_divide_integers)
})
.seen(PARAKEET);
/// The larger element.
pub static MAXIMUM: OpDecl =
    arithmetic("maximum", "Takes the larger of `x` and `y`.", |call| map_x_y(call, larger, Ord::max)).seen(WATCH);
/// The smaller element.
pub static MINIMUM: OpDecl =
    arithmetic("minimum", "Takes the smaller of `x` and `y`.", |call| map_x_y(call, smaller, Ord::min)).seen(WATCH);
/// Product.
pub static MUL: OpDecl = arithmetic("mul", "Multiplies `x` and `y` element by element.", |call| {
    map_x_y(call, |x, y| x * y, i32::wrapping_mul)
})
.seen(SILERO);
/// Power.
pub static POW: OpDecl = arithmetic("pow", "Raises `x` to the power of `y`.", power).seen(SILERO);
/// Division.
pub static REAL_DIV: OpDecl =
    arithmetic("real_div", "Divides `x` by `y`; integers are rounded towards zero.", divide).seen(KOKORO);
/// Difference.
pub static SUB: OpDecl = arithmetic("sub", "Subtracts `y` from `x` element by element.", |call| {
    map_x_y(call, |x, y| x - y, i32::wrapping_sub)
})
.seen(SILERO);
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
pub static MOD: OpDecl = arithmetic("mod", "The remainder of `x` by `y`, with the sign of `y`.", |call| {
    map_x_y(call, modulo, modulo_integers)
});

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

/// The rounded quotient of the exact division, as Python and NumPy have it, not of the rounded one.
fn floor_divide(x: f32, y: f32) -> f32 {
    let remainder = x % y;
    let quotient = (x - remainder) / y;
    match remainder {
        _ if y == 0.0 => x / y,
        0.0 => quotient,
        _ if (remainder < 0.0) != (y < 0.0) => (quotient - 1.0).round(),
        _ => quotient.round(),
    }
}

/// Wraps like other integer arithmetic; a quotient by 0 is 0, as in NumPy.
fn floor_divide_integers(x: i32, y: i32) -> i32 {
    if y == 0 {
        return 0;
    }
    let (quotient, remainder) = (x.wrapping_div(y), x.wrapping_rem(y));
    if remainder != 0 && (remainder < 0) != (y < 0) { quotient - 1 } else { quotient }
}

/// Integers wrap like other arithmetic, and have no powers that are fractions.
fn power(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let y = call.tensor("y")?;
    if y.dtype().is_integer()
        && let Some(negative) = call.integers("y")?.iter().find(|y| **y < 0)
    {
        return Err(InferError::operand("y", "exponents of integers that are not negative", negative).into());
    }
    map_x_y(call, f32::powf, |x, y| x.wrapping_pow(y.unsigned_abs()))
}

fn divide(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    if call.tensor("y")?.dtype().is_integer() && call.integers("y")?.contains(&0) {
        return Err(InferError::operand("y", "integers other than 0", 0).into());
    }
    map_x_y(call, |x, y| x / y, i32::wrapping_div)
}

impl FunctionBuilder {
    /// Adds `x` and `y` element by element.
    pub fn add(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        pair(self, &ADD, name, x, y)
    }

    /// Multiplies `x` and `y` element by element.
    pub fn mul(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        pair(self, &MUL, name, x, y)
    }

    /// Takes the larger of `x` and `y` element by element.
    pub fn maximum(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        pair(self, &MAXIMUM, name, x, y)
    }

    /// Subtracts `y` from `x` element by element.
    pub fn sub(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        pair(self, &SUB, name, x, y)
    }
}

/// A call of an op of two operands.
pub(super) fn pair(
    builder: &mut FunctionBuilder,
    decl: &'static OpDecl,
    name: &str,
    x: &Var,
    y: &Var,
) -> Result<Var, BuildError> {
    builder.call(decl, name).operand("x", x).operand("y", y).single()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, int32, tensor};

    #[test]
    fn operands_broadcast() {
        for decl in [&ADD, &MUL, &SUB] {
            let operands = Operands::default().with("x", fp16(&[2, 1, 4])).with("y", fp16(&[3, -1]));
            assert_eq!(operands.infer(decl), Ok(vec![tensor(DataType::Float16, &[2, 3, 4])]), "{}", decl.name);
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        for decl in [&ADD, &MUL, &SUB] {
            let shapes = Operands::default().with("x", fp16(&[2, 4])).with("y", fp16(&[3, 4]));
            assert!(shapes.infer(decl).is_err(), "{}", decl.name);
            let types = Operands::default().with("x", fp16(&[2, 4])).with("y", int32(&[2, 4]));
            assert!(types.infer(decl).is_err(), "{}", decl.name);
        }
    }
}
