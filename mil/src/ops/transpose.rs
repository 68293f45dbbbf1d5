//! `transpose`: a tensor with its axes in another order.

use super::decl::{INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::shape::{MOVED_X, distinct_axes, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor, row_major};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "transpose",
    "Puts the axes of `x` in the order `perm`.",
    &[MOVED_X, Parameter::new("perm", INT32).constant()],
    infer,
)
.moves(evaluate)
.seen(SILERO)
.renewed(&[Opset::Ios17, Opset::Ios18]);

/// # Shapes
/// Axis `i` of the result is axis `perm[i]` of `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let perm = known_ints(ctx, "perm")?.ok_or_else(|| InferError::Missing("perm".to_owned()))?;
    let axes = distinct_axes("perm", &perm, x.rank())?;
    if axes.len() != x.rank() {
        return Err(InferError::operand("perm", format!("all axes of {x}"), format!("{perm:?}")));
    }
    let shape = axes.iter().filter_map(|axis| x.shape.get(*axis).copied()).collect();
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let order: Vec<i64> = call.integers("perm")?.iter().map(|axis| i64::from(*axis)).collect();
    let order = distinct_axes("perm", &order, x.rank())?;
    let strides = row_major(x.shape());
    let shape: Vec<usize> = order.iter().filter_map(|axis| x.shape().get(*axis).copied()).collect();
    let strides: Vec<isize> = order.iter().filter_map(|axis| strides.get(*axis)?.to_owned().try_into().ok()).collect();
    Ok(vec![x.strided(0, &shape, &strides)?])
}

impl FunctionBuilder {
    /// Puts the axes of `x` in the order `perm`.
    pub fn transpose(&mut self, name: &str, x: &Var, perm: &[i32]) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("perm", Value::int32s(perm)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, infer_of_integers};

    fn transpose(x: &[i64], perm: &[i32]) -> Result<Vec<ValueType>, InferError> {
        infer_of_integers(&DECL, x, "perm", perm)
    }

    #[test]
    fn axes_take_their_lengths_along() {
        assert_eq!(transpose(&[1, -1, 3], &[2, 0, 1]), Ok(vec![fp16(&[3, 1, -1])]));
        assert_eq!(transpose(&[1, 2, 3], &[0, -1, -2]), Ok(vec![fp16(&[1, 3, 2])]));
    }

    #[test]
    fn every_axis_is_named_once() {
        assert!(transpose(&[1, 2, 3], &[0, 1]).is_err());
        assert!(transpose(&[1, 2, 3], &[0, 1, 1]).is_err());
        assert!(transpose(&[1, 2, 3], &[0, 1, 3]).is_err());
        assert!(transpose(&[1, 2, 3], &[0, 1, 2, 0]).is_err());
        assert!(Operands::default().with("x", fp16(&[2])).infer(&DECL).is_err());
    }
}
