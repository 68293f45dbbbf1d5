//! `stack`: tensors along a new axis.

use super::decl::{Domain, INT32, InferError, OpContext, OpDecl, Parameter, normalize_axis};
use super::evidence::PARAKEET;
use super::shape::known_int_or;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "stack",
    "Puts tensors of one shape side by side along a new axis.",
    &[Parameter::new("values", Domain::Any).variadic(), Parameter::new("axis", INT32).constant()],
    infer,
)
.moves(evaluate)
.seen(PARAKEET)
.renewed(&[]);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let values = ctx.tensors("values")?;
    let Some((first, rest)) = values.split_first() else { return Err(InferError::Missing("values".to_owned())) };
    ctx.required("axis")?;
    if let Some(other) = rest.iter().find(|other| *other != first) {
        return Err(InferError::operand("values", format!("tensors like the first, {first}"), other));
    }
    let axis = normalize_axis("axis", known_int_or(ctx, "axis", 0)?, first.rank() + 1)?;
    let mut shape = first.shape.clone();
    shape.insert(axis, Dimension::Fixed(values.len() as u64));
    Ok(vec![TensorType { dtype: first.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let values = call.operands("values");
    let first = call.tensor("values")?;
    let axis = call.axis_or("axis", 0, first.rank() + 1)?;
    let unlike = |value: &&Tensor| value.shape() != first.shape() || value.dtype() != first.dtype();
    if let Some(other) = values.iter().find(unlike) {
        return Err(InferError::operand("values", format!("tensors like the first, {}", first.ty()), other.ty()).into());
    }
    let mut shape = first.shape().to_vec();
    shape.insert(axis, values.len());
    let [outer, _, inner] = along_axis(&shape, axis);
    let rows = (0..outer).flat_map(|row| (0..values.len()).map(move |value| (value, row * inner..(row + 1) * inner)));
    Ok(vec![Tensor::from_runs(values, &shape, rows)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::value::Value;

    #[test]
    fn the_new_axis_is_as_long_as_there_are_tensors() {
        let operands = Operands::default().with_all("values", &[fp16(&[2, 3]), fp16(&[2, 3])]);
        assert_eq!(operands.constant("axis", Value::int32(-1)).infer(&DECL), Ok(vec![fp16(&[2, 3, 2])]));
    }

    #[test]
    fn tensors_of_several_shapes_are_refused() {
        let operands = Operands::default().with_all("values", &[fp16(&[2, 3]), fp16(&[3, 2])]);
        assert!(operands.constant("axis", Value::int32(0)).infer(&DECL).is_err());
    }
}
