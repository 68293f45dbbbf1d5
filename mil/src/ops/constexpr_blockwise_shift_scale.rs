//! `constexpr_blockwise_shift_scale`: a weight stored as integers with a scale, and perhaps an offset, per block.

use std::sync::Arc;

use super::decl::{Domain, FLOATS, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEFORGE;
use super::shape::{compatible_shapes, same_dtype};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Blocks, Call, Dequantized, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

pub(super) const QUANTIZED: Domain = Domain::OneOf(&[
    DataType::Int4,
    DataType::UInt4,
    DataType::Int8,
    DataType::UInt8,
    DataType::Float16,
    DataType::Float32,
]);

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "constexpr_blockwise_shift_scale",
    "Computes `scale * (data - offset)` with one scale and offset per block.",
    &[
        Parameter::new("data", QUANTIZED).constant(),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("offset", QUANTIZED).constant().optional(),
    ],
    infer,
)
.computes(evaluate)
.since(Opset::Ios18)
.seen(ANEFORGE);

/// # Shapes
/// `data: [size..]`, `scale` and `offset: [blocks..]` of the same rank, each a divisor of its `size`; the result is like
/// `data`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let data = ctx.tensor("data")?;
    let scale = ctx.tensor("scale")?;
    if data.rank() == 0 {
        return Err(InferError::operand("data", "a tensor with axes", data));
    }
    let divides = data.shape.iter().zip(&scale.shape).all(|(size, blocks)| match (size.fixed(), blocks.fixed()) {
        (Some(size), Some(blocks)) => size.checked_rem(blocks) == Some(0),
        _ => true,
    });
    if scale.rank() != data.rank() || !divides {
        return Err(InferError::operand("scale", format!("a shape that divides {data}"), scale));
    }
    if ctx.optional("offset").is_some() {
        let offset = ctx.tensor("offset")?;
        if !compatible_shapes(&offset.shape, &scale.shape) {
            return Err(InferError::operand("offset", format!("the shape of {scale}"), offset));
        }
        if !offset.dtype.is_float() {
            same_dtype("offset", data, offset)?;
        }
    }
    Ok(vec![TensorType { dtype: scale.dtype, shape: data.shape.clone() }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.tensor("data")?.clone();
    let scale = call.tensor("scale")?;
    let dtype = scale.dtype();
    let blocks = Blocks::new(data.shape(), scale.shape())?;
    let offset = match call.optional("offset") {
        Some(offset) if offset.shape() != scale.shape() => {
            let expected = format!("the shape of {}", scale.ty());
            return Err(InferError::operand("offset", expected, offset.ty()).into());
        }
        Some(offset) => offset.to_numbers()?,
        None => Vec::new(),
    };
    let scale = call.floats("scale")?.into_owned();
    let shape = data.shape().to_vec();
    let weight = Dequantized::new(data, blocks, scale, offset, (dtype, call.numerics()))?;
    Ok(vec![Tensor::lazy(dtype, &shape, Arc::new(weight))?])
}

impl FunctionBuilder {
    /// Adds a weight of `scale * (data - offset)`; the values stand in place. Without `offset` it is symmetric.
    pub fn blockwise_shift_scale(
        &mut self,
        name: &str,
        data: Value,
        scale: Value,
        offset: Option<Value>,
    ) -> Result<Var, BuildError> {
        let mut call = self.call(&DECL, name).inline("data", data).inline("scale", scale);
        if let Some(offset) = offset {
            call = call.inline("offset", offset);
        }
        call.single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::value::BlobReference;

    fn blob(dtype: DataType, shape: &[u64]) -> Value {
        let reference = BlobReference { file_name: "weights".to_owned(), offset: 64 };
        Value::blob(TensorType::fixed(dtype, shape), reference)
    }

    fn infer(data: &[u64], scale: &[u64], offset: Option<Value>) -> Result<Vec<ValueType>, InferError> {
        let mut operands = Operands::default()
            .constant("data", blob(DataType::UInt4, data))
            .constant("scale", blob(DataType::Float16, scale));
        if let Some(offset) = offset {
            operands = operands.constant("offset", offset);
        }
        operands.infer(&DECL)
    }

    #[test]
    fn the_result_has_the_shape_of_the_data_and_the_type_of_the_scale() {
        assert_eq!(infer(&[32, 64], &[32, 1], None), Ok(vec![fp16(&[32, 64])]));
        let offset = blob(DataType::UInt4, &[32, 2]);
        assert_eq!(infer(&[32, 64], &[32, 2], Some(offset)), Ok(vec![fp16(&[32, 64])]));
        let offset = blob(DataType::Float16, &[32, 2]);
        assert_eq!(infer(&[32, 64], &[32, 2], Some(offset)), Ok(vec![fp16(&[32, 64])]));
    }

    #[test]
    fn blocks_must_divide_the_data() {
        assert!(infer(&[32, 64], &[32, 3], None).is_err());
        assert!(infer(&[32, 64], &[32, 0], None).is_err());
        assert!(infer(&[32, 64], &[32], None).is_err());
        assert!(infer(&[], &[], None).is_err());
    }

    #[test]
    fn an_offset_must_be_like_the_scale_with_elements_like_the_data() {
        assert!(infer(&[32, 64], &[32, 2], Some(blob(DataType::UInt4, &[32, 1]))).is_err());
        assert!(infer(&[32, 64], &[32, 2], Some(blob(DataType::Int4, &[32, 2]))).is_err());
    }

    #[test]
    fn the_builder_leaves_an_absent_offset_out() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let data = blob(DataType::Int8, &[4, 8]);
        let weight = builder.blockwise_shift_scale("w", data, blob(DataType::Float16, &[4, 1]), None);
        let weight = weight.expect("the scale fits");
        let function = builder.finish(&[&weight]);
        assert_eq!(function.block.operations[0].inputs.keys().collect::<Vec<_>>(), ["data", "scale"]);
    }
}
