//! `constexpr_sparse_to_dense`: a constant from its nonzero elements.

use super::decl::{Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results, pending};
use super::shape::known_ints;
use crate::dtype::DataType;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "constexpr_sparse_to_dense",
    doc: "Spreads `nonzero_data` over the places that `mask` marks.",
    since: Opset::Ios16,
    parameters: &[
        Parameter::new("nonzero_data", Domain::Any).constant(),
        Parameter::new("mask", Domain::OneOf(&[DataType::UInt1, DataType::UInt8])).constant(),
        Parameter::new("shape", Domain::OneOf(&[DataType::UInt32])).constant().optional(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

/// # Shapes
/// `nonzero_data: [count]`. From ios18 on the mask has one bit for each element and the shape of the result; before, it is
/// packed bytes, and `shape` says the shape.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let data = ctx.tensor("nonzero_data")?;
    let mask = ctx.tensor("mask")?;
    if data.rank() != 1 {
        return Err(InferError::operand("nonzero_data", "a vector", data));
    }
    let shape = match known_ints(ctx, "shape")? {
        None => mask.shape.clone(),
        Some(shape) => {
            let sizes = shape.iter().map(|size| u64::try_from(*size).map(Dimension::Fixed)).collect::<Result<_, _>>();
            sizes.map_err(|_| InferError::operand("shape", "lengths", "a negative number"))?
        }
    };
    Ok(vec![TensorType { dtype: data.dtype, shape }.into()])
}
