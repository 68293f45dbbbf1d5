//! `dequantize`: 8-bit integers as numbers.

use super::decl::{Domain, Effect, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results};
use super::shape::{axis_or, compatible};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "dequantize",
    doc: "Subtracts `zero_point` from `input` and multiplies by `scale`.",
    since: Opset::Ios17,
    parameters: &[
        Parameter::new("input", BYTES).group('D'),
        Parameter::new("zero_point", BYTES).constant().optional().group('D'),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("axis", INT32).constant().optional(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
};

/// 8-bit integers.
const BYTES: Domain = Domain::OneOf(&[DataType::Int8, DataType::UInt8]);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let input = ctx.tensor("input")?;
    let scale = ctx.tensor("scale")?;
    if scale.rank() > 1 {
        return Err(InferError::operand("scale", "a scalar or a vector", scale));
    }
    if scale.rank() == 1 {
        let axis = axis_or(ctx, "axis", 0, input.rank())?;
        if !input.shape.get(axis).is_some_and(|size| compatible(*size, scale.shape[0])) {
            return Err(InferError::operand(
                "scale",
                format!("one element for each along axis {axis} of {input}"),
                scale,
            ));
        }
    }
    Ok(vec![TensorType { dtype: scale.dtype, shape: input.shape.clone() }.into()])
}
