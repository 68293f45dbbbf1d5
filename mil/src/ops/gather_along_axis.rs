//! `gather_along_axis`: elements picked along an axis.

use super::decl::{BOOL, Change, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::evidence::PARAKEET;
use super::gather::{TABLE, places, places_operand};
use super::shape::{axis_or, compatible};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "gather_along_axis",
    "Picks one element of `x` along `axis` for every element of `indices`.",
    &[
        Parameter::new("x", NUMBERS).changes(&[Change::Takes(Opset::Ios17, TABLE)]),
        places_operand(),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("validate_indices", BOOL).constant().defaulted().changes(&[Change::Since(Opset::Ios17)]),
    ],
    infer,
)
.moves(evaluate)
.seen(PARAKEET);

/// Element types of indices; ios17 added the short ones.
/// # Shapes
/// `indices` has the shape of `x` but along `axis`, and the result has the shape of `indices`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let indices = ctx.tensor("indices")?;
    let axis = axis_or(ctx, "axis", 0, x.rank())?;
    let others = x.shape.iter().zip(&indices.shape).enumerate();
    let fits = x.rank() == indices.rank()
        && others.filter(|(index, _)| *index != axis).all(|(_, (size, given))| compatible(*size, *given));
    if !fits {
        return Err(InferError::operand("indices", format!("the shape of {x} but for axis {axis}"), indices));
    }
    Ok(vec![TensorType { dtype: x.dtype, shape: indices.shape.clone() }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let axis = call.axis_or("axis", 0, x.rank())?;
    let others = x.shape().iter().zip(indices.shape()).enumerate();
    let fits =
        x.rank() == indices.rank() && others.filter(|(at, _)| *at != axis).all(|(_, (size, given))| size == given);
    if !fits {
        let expected = format!("the shape of {} but for axis {axis}", x.ty());
        return Err(InferError::operand("indices", expected, indices.ty()).into());
    }
    let [_, length, inner] = along_axis(x.shape(), axis);
    let [_, taken, _] = along_axis(indices.shape(), axis);
    let places = places(call, length)?;
    let elements = places.iter().enumerate().map(|(index, place)| {
        let (outer, column) = (index / (taken * inner), index % inner);
        let start = (outer * length + place) * inner + column;
        (0, start..start + 1)
    });
    Ok(vec![Tensor::from_runs(std::slice::from_ref(x), indices.shape(), elements)?])
}

impl FunctionBuilder {
    /// Picks one element of `x` along `axis` for every element of `indices`, which must be within `x`: they are not validated.
    pub fn gather_along_axis(&mut self, name: &str, x: &Var, indices: &Var, axis: i32) -> Result<Var, BuildError> {
        let validates = self.opset() >= Opset::Ios17;
        let call = self.call(&DECL, name).operand("x", x).operand("indices", indices);
        let call = call.constant("axis", Value::int32(axis));
        if validates { call.constant("validate_indices", Value::bool(false)) } else { call }.single()
    }
}
