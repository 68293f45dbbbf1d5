//! `quantize`: rounding to 8-bit integers.

use super::decl::{Domain, Effect, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results, STRING};
use super::shape::{axis_or, compatible, known_string_or};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "quantize",
    doc: "Divides `input` by `scale`, adds `zero_point` and rounds to an 8-bit integer.",
    since: Opset::Ios17,
    parameters: &[
        Parameter::new("input", FLOATS).group('S'),
        Parameter::new("zero_point", BYTES).constant().optional(),
        Parameter::new("scale", FLOATS).constant().group('S'),
        Parameter::new("axis", INT32).constant().optional(),
        Parameter::new("output_dtype", STRING).constant(),
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
    ctx.required("output_dtype")?;
    let dtype = match known_string_or(ctx, "output_dtype", "")? {
        "int8" => DataType::Int8,
        "uint8" => DataType::UInt8,
        other => return Err(InferError::operand("output_dtype", "`int8` or `uint8`", format!("`{other}`"))),
    };
    Ok(vec![TensorType { dtype, shape: input.shape.clone() }.into()])
}
