//! `scaled_dot_product_attention`: attention in one op.

use super::decl::{Domain, Effect, FLOATS, InferError, OpContext, OpDecl, Parameter, Results, pending};
use super::shape::{broadcast_shapes, compatible, compatible_shapes, same_dtype};
use crate::dtype::DataType;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "scaled_dot_product_attention",
    doc: "Mixes `value` by the softmax of `query` times `key`, scaled by the root of the head size.",
    since: Opset::Ios18,
    parameters: &[
        Parameter::new("query", FLOATS).group('T'),
        Parameter::new("key", FLOATS).group('T'),
        Parameter::new("value", FLOATS).group('T'),
        Parameter::new("attn_mask", Domain::OneOf(&[DataType::Bool, DataType::Float16, DataType::Float32])).optional(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

/// # Shapes
/// `query: [.., queries, head]`, `key: [.., keys, head]`, `value: [.., keys, width]`, `attn_mask` broadcasts to
/// `[.., queries, keys]`; the result is `[.., queries, width]`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (query, key, value) = (ctx.tensor("query")?, ctx.tensor("key")?, ctx.tensor("value")?);
    let rank = query.rank();
    if rank < 3 {
        return Err(InferError::operand("query", "a tensor of rank 3 or more", query));
    }
    for (parameter, tensor) in [("key", key), ("value", value)] {
        same_dtype(parameter, query, tensor)?;
        let batch = tensor.rank() == rank && compatible_shapes(&query.shape[..rank - 2], &tensor.shape[..rank - 2]);
        if !batch {
            return Err(InferError::operand(parameter, format!("the leading axes of {query}"), tensor));
        }
    }
    if !compatible(query.shape[rank - 1], key.shape[rank - 1]) {
        return Err(InferError::operand("key", format!("heads of {}", query.shape[rank - 1]), key));
    }
    if !compatible(key.shape[rank - 2], value.shape[rank - 2]) {
        return Err(InferError::operand("value", format!("{} keys", key.shape[rank - 2]), value));
    }
    let mut scores = query.shape.clone();
    scores[rank - 1] = key.shape[rank - 2];
    if let Some(mask) = ctx.optional("attn_mask") {
        let mask = mask.ty.as_tensor().ok_or_else(|| InferError::operand("attn_mask", "a tensor", mask.ty))?;
        if mask.rank() > rank || broadcast_shapes(&mask.shape, &scores).as_deref() != Some(&scores[..]) {
            return Err(InferError::operand("attn_mask", "a shape that broadcasts to the scores", mask));
        }
    }
    let mut shape = query.shape.clone();
    shape[rank - 1] = value.shape[rank - 1];
    Ok(vec![TensorType { dtype: query.dtype, shape }.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};

    fn attention(query: &[i64], key: &[i64], value: &[i64]) -> Operands {
        Operands::default().with("query", fp16(query)).with("key", fp16(key)).with("value", fp16(value))
    }

    #[test]
    fn the_result_has_the_queries_and_the_width_of_values() {
        let operands = attention(&[1, 4, 2, 16], &[1, 4, 8, 16], &[1, 4, 8, 32]).with("attn_mask", fp16(&[1, 1, 2, 8]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[1, 4, 2, 32])]));
    }

    #[test]
    fn heads_keys_and_masks_must_fit() {
        assert!(attention(&[1, 4, 2, 16], &[1, 2, 8, 16], &[1, 2, 8, 16]).infer(&DECL).is_err());
        assert!(attention(&[1, 4, 2, 16], &[1, 4, 8, 8], &[1, 4, 8, 16]).infer(&DECL).is_err());
        assert!(attention(&[1, 4, 2, 16], &[1, 4, 8, 16], &[1, 4, 9, 16]).infer(&DECL).is_err());
        let mask = attention(&[1, 4, 2, 16], &[1, 4, 8, 16], &[1, 4, 8, 16]).with("attn_mask", fp16(&[1, 1, 3, 8]));
        assert!(mask.infer(&DECL).is_err());
    }
}
