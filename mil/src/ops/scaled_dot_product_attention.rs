//! `scaled_dot_product_attention`: attention in one op.

use std::borrow::Cow;

use super::decl::{Domain, FLOATS, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEFORGE;
use super::shape::{broadcast_shapes, compatible, compatible_shapes, same_dtype};
use crate::cost::{CallTypes, product};
use crate::dtype::DataType;
use crate::evaluate::{
    Call, EvaluateError, Matrix, Tensor, broadcast_shape, check_size, multiply, row_major, softmax, strided_copy,
};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "scaled_dot_product_attention",
    "Mixes `value` by the softmax of `query` times `key`, scaled by the root of the head size.",
    &[
        Parameter::new("query", FLOATS).group('T'),
        Parameter::new("key", FLOATS).group('T'),
        Parameter::new("value", FLOATS).group('T'),
        Parameter::new("attn_mask", Domain::OneOf(&[DataType::Bool, DataType::Float16, DataType::Float32])).optional(),
    ],
    infer,
)
.computes(evaluate)
.since(Opset::Ios18)
.seen(ANEFORGE);

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

/// A query that every key is masked from gives what is not a number, as a softmax of negative infinities does.
/// A score is a product over the head, an element of the result one over the keys.
pub(crate) fn multiplications(types: &CallTypes<'_>) -> Option<u64> {
    let (query, key) = (types.shape("query")?, types.shape("key")?);
    let keys = *key.get(key.len().checked_sub(2)?)?;
    product(&query)?.checked_add(product(&types.result_shape()?)?)?.checked_mul(keys)
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (query, key, value) = (call.tensor("query")?, call.tensor("key")?, call.tensor("value")?);
    let [(batch, queries, head), (key_batch, keys, key_head), (value_batch, values, width)] =
        [matrices("query", query)?, matrices("key", key)?, matrices("value", value)?];
    if batch != key_batch || batch != value_batch || head != key_head || keys != values {
        let found = format!("{}, {} and {} do not fit each other", query.ty(), key.ty(), value.ty());
        return Err(InferError::Mismatch(found).into());
    }
    let axes = |last: [usize; 2]| batch.iter().copied().chain(last).collect::<Vec<_>>();
    let shape = axes([queries, width]);
    let batches = check_size(batch)?;
    check_size(&axes([queries, keys]))?;
    let mask = additive_mask(call, &axes([queries, keys]))?;
    let mut output = vec![0.0; check_size(&shape)?];
    let mut scores = vec![0.0; queries * keys];
    let scale = root(head).recip();
    let (query_values, key_values, value_values) = (call.floats("query")?, call.floats("key")?, call.floats("value")?);
    for index in 0..batches {
        let query = part(&query_values, index, [queries, head]);
        let key = part(&key_values, index, [keys, head]);
        let value = part(&value_values, index, [keys, width]);
        multiply(query, key.transposed(), &mut scores, call.numerics())?;
        let mut masks = mask.iter().skip(index * queries * keys);
        for score in &mut scores {
            *score = *score * scale + masks.next().copied().unwrap_or(0.0);
        }
        softmax(&mut scores, keys, 1);
        let output = output.get_mut(index * queries * width..(index + 1) * queries * width).unwrap_or_default();
        let scores = Matrix::row_major(&scores, [queries, keys]);
        multiply(scores, value, output, call.numerics())?;
    }
    Ok(vec![Tensor::floats(query.dtype(), &shape, output)?])
}

/// The matrix `index` of several.
fn part(elements: &[f32], index: usize, shape: [usize; 2]) -> Matrix<'_> {
    let count = shape[0] * shape[1];
    Matrix::row_major(elements.get(index * count..(index + 1) * count).unwrap_or_default(), shape)
}

/// The leading axes, rows and columns.
fn matrices<'a>(parameter: &str, tensor: &'a Tensor) -> Result<(&'a [usize], usize, usize), InferError> {
    match tensor.shape() {
        [batch @ .., rows, columns] => Ok((batch, *rows, *columns)),
        _ => Err(InferError::operand(parameter, "a tensor of rank 3 or more", tensor.ty())),
    }
}

/// What is added to the scores of `shape`; nothing where there is no mask.
fn additive_mask(call: &Call<'_>, shape: &[usize]) -> Result<Vec<f32>, EvaluateError> {
    let Some(mask) = call.optional("attn_mask") else { return Ok(Vec::new()) };
    if broadcast_shape(mask.shape(), shape)? != shape {
        let expected = format!("a shape that broadcasts to {shape:?}");
        return Err(InferError::operand("attn_mask", expected, mask.ty()).into());
    }
    let mut strides = vec![0; shape.len()];
    let own = row_major(mask.shape());
    for ((stride, own), size) in strides.iter_mut().rev().zip(own.iter().rev()).zip(mask.shape().iter().rev()) {
        *stride = if *size == 1 { 0 } else { isize::try_from(*own).unwrap_or(isize::MAX) };
    }
    let values = if mask.dtype() == DataType::Bool {
        let seen = call.bools("attn_mask")?.iter();
        Cow::Owned(seen.map(|seen| if *seen { 0.0 } else { f32::NEG_INFINITY }).collect())
    } else {
        call.floats("attn_mask")?
    };
    let mut output = Vec::new();
    strided_copy(&values, 0, shape, &strides, &mut output);
    Ok(output)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of heads are small")]
fn root(size: usize) -> f32 {
    (size as f32).sqrt()
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
