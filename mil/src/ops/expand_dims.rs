//! `expand_dims`: a tensor with more axes of length 1.

use super::decl::{INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::shape::{MOVED_X, distinct_axes, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "expand_dims",
    "Gives `x` axes of length 1 that are `axes` of the result.",
    &[MOVED_X, Parameter::new("axes", INT32).constant()],
    infer,
)
.moves(evaluate)
.seen(SILERO)
.renewed(&[Opset::Ios17, Opset::Ios18]);

/// # Shapes
/// The result has length 1 at each of `axes`, which count in the result, and the lengths of `x` in order at the others.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axes = known_ints(ctx, "axes")?.ok_or_else(|| InferError::Missing("axes".to_owned()))?;
    let rank = x.rank() + axes.len();
    let mut added = vec![false; rank];
    for axis in distinct_axes("axes", &axes, rank)? {
        if let Some(added) = added.get_mut(axis) {
            *added = true;
        }
    }
    let mut sizes = x.shape.iter().copied();
    let size = |added: bool| if added { Some(Dimension::Fixed(1)) } else { sizes.next() };
    let shape = added.into_iter().filter_map(size).collect();
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let axes: Vec<i64> = call.integers("axes")?.iter().map(|axis| i64::from(*axis)).collect();
    let x = call.take("x")?;
    let rank = x.rank() + axes.len();
    let new = distinct_axes("axes", &axes, rank)?;
    let mut lengths = x.shape().iter();
    let length = |axis| if new.contains(&axis) { 1 } else { lengths.next().copied().unwrap_or(1) };
    let shape: Vec<usize> = (0..rank).map(length).collect();
    Ok(vec![x.reshaped(&shape)?])
}

impl FunctionBuilder {
    /// Gives `x` axes of length 1 that are `axes` of the result.
    pub fn expand_dims(&mut self, name: &str, x: &Var, axes: &[i32]) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("axes", Value::int32s(axes)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, infer_of_integers};

    fn expand(x: &[i64], axes: &[i32]) -> Result<Vec<ValueType>, InferError> {
        infer_of_integers(&DECL, x, "axes", axes)
    }

    #[test]
    fn axes_count_in_the_result() {
        assert_eq!(expand(&[2, -1], &[1]), Ok(vec![fp16(&[2, 1, -1])]));
        assert_eq!(expand(&[2, 3], &[-1, 0]), Ok(vec![fp16(&[1, 2, 3, 1])]));
        assert_eq!(expand(&[], &[0]), Ok(vec![fp16(&[1])]));
    }

    #[test]
    fn axes_outside_of_the_result_or_twice_are_refused() {
        assert!(expand(&[2, 3], &[3]).is_err());
        assert!(expand(&[2, 3], &[-4]).is_err());
        assert!(expand(&[2, 3], &[0, -4]).is_err());
        assert!(Operands::default().with("x", fp16(&[2])).infer(&DECL).is_err());
    }
}
