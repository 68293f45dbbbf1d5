//! `gather_along_axis`: elements picked along an axis.

use super::decl::{BOOL, Domain, Effect, INT32, InferError, OpContext, OpDecl, Parameter, Results, pending};
use super::shape::{ELEMENTS, axis_or, compatible};
use crate::dtype::DataType;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "gather_along_axis",
    doc: "Picks one element of `x` along `axis` for every element of `indices`.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", ELEMENTS),
        Parameter::new("indices", INDICES),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("validate_indices", BOOL).constant().defaulted(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

/// Element types of indices; ios17 added the short ones.
const INDICES: Domain =
    Domain::OneOf(&[DataType::Int32, DataType::Int16, DataType::UInt16, DataType::Int8, DataType::UInt8]);

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
