//! What `quantize`, `dequantize` and `constexpr_affine_dequantize` share.

use super::decl::{Domain, InferError, OpContext};
use super::shape::{axis_or, compatible};
use crate::dtype::DataType;
use crate::evaluate::{Blocks, Call, EvaluateError, Tensor};
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

/// The blocks of `data` that have a scale and a zero point of their own, with their number: one, or one for each index of
/// `axis` where one of `vectors` is no scalar.
pub(super) fn vector_along(
    data: &Tensor,
    axis: usize,
    vectors: [&Tensor; 2],
) -> Result<(Blocks, usize), EvaluateError> {
    if vectors.iter().all(|vector| vector.rank() == 0) {
        return Ok((Blocks::new(data.shape(), &vec![1; data.rank()])?, 1));
    }
    let count = data.shape().get(axis).copied().unwrap_or(1);
    Ok((Blocks::along(data.shape(), axis)?, count))
}

/// The numbers of `parameter`, one for each of `count` blocks; none where it is absent.
pub(super) fn per_index(call: &Call<'_>, parameter: &str, count: usize) -> Result<Vec<f32>, EvaluateError> {
    let Some(tensor) = call.optional(parameter) else { return Ok(Vec::new()) };
    let numbers = tensor.to_numbers()?;
    match numbers.as_slice() {
        [number] if tensor.rank() == 0 => Ok(vec![*number; count]),
        numbers if tensor.rank() == 1 && numbers.len() == count => Ok(numbers.to_vec()),
        _ => Err(InferError::operand(parameter, format!("a scalar or {count} elements"), tensor.ty()).into()),
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
