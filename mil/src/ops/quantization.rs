//! What `quantize` and `dequantize` share.

use super::decl::{Domain, InferError, OpContext};
use super::shape::{axis_or, compatible};
use crate::dtype::DataType;
use crate::types::TensorType;

/// 8-bit integers.
pub const BYTES: Domain = Domain::OneOf(&[DataType::Int8, DataType::UInt8]);

/// The scale: one for all of `input`, or one for each element along `axis`.
pub fn scale_of<'a>(ctx: &OpContext<'a>, input: &TensorType) -> Result<&'a TensorType, InferError> {
    let scale = ctx.tensor("scale")?;
    match scale.shape.as_slice() {
        [] => Ok(scale),
        [length] => {
            let axis = axis_or(ctx, "axis", 0, input.rank())?;
            if input.shape.get(axis).is_some_and(|size| compatible(*size, *length)) {
                return Ok(scale);
            }
            Err(InferError::operand("scale", format!("one element for each along axis {axis} of {input}"), scale))
        }
        _ => Err(InferError::operand("scale", "a scalar or a vector", scale)),
    }
}

#[cfg(test)]
mod tests {
    use crate::dtype::DataType;
    use crate::ops::dequantize;
    use crate::ops::testing::{Operands, fp16, tensor};
    use crate::value::Value;

    #[test]
    fn a_scale_per_channel_must_be_as_long_as_the_axis() {
        let operands = |length, axis| {
            let input = tensor(DataType::Int8, &[4, 8]);
            Operands::default().with("input", input).with("scale", fp16(&[length])).constant("axis", Value::int32(axis))
        };
        assert!(operands(8, 1).infer(&dequantize::DECL).is_ok());
        assert!(operands(8, 0).infer(&dequantize::DECL).is_err());
        assert!(operands(8, 2).infer(&dequantize::DECL).is_err());
    }
}
