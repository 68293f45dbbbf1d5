//! `constexpr_blockwise_shift_scale`: a weight stored as integers with a scale, and perhaps an offset, per block.

use super::decl::{Domain, Effect, FLOATS, InferError, OpContext, OpDecl, Parameter, Results};
use super::shape::{compatible_shapes, same_dtype};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

const QUANTIZED: Domain = Domain::OneOf(&[
    DataType::Int4,
    DataType::UInt4,
    DataType::Int8,
    DataType::UInt8,
    DataType::Float16,
    DataType::Float32,
]);

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "constexpr_blockwise_shift_scale",
    doc: "Computes `scale * (data - offset)` with one scale and offset per block.",
    since: Opset::Ios18,
    parameters: &[
        Parameter::new("data", QUANTIZED).constant(),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("offset", QUANTIZED).constant().optional(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
};

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
