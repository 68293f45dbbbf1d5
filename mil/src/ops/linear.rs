//! `linear`: a dense layer.

use std::borrow::Cow;

use super::decl::{InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::evidence::KOKORO;
use super::shape::compatible;
use crate::cost::{CallTypes, product};
use crate::evaluate::{Call, EvaluateError, Matrix, Projection, Tensor, check_size, strided_copy};
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "linear",
    "Multiplies the last axis of `x` with the transposed `weight` and adds `bias`.",
    &[
        Parameter::new("x", NUMBERS),
        Parameter::new("weight", NUMBERS).group('U').constant(),
        Parameter::new("bias", NUMBERS).group('U').constant().defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(KOKORO);

/// # Shapes
/// `x: [.., in]`, `weight: [out, in]`, `bias: [out]`; the result is `[.., out]`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let weight = ctx.tensor("weight")?;
    let &[out, inner] = weight.shape.as_slice() else {
        return Err(InferError::operand("weight", "a tensor of rank 2", weight));
    };
    let Some((last, outer)) = x.shape.split_last() else {
        return Err(InferError::operand("x", "a tensor of rank 1 or more", x));
    };
    if !compatible(*last, inner) {
        return Err(InferError::operand("weight", format!("{last} input channels"), weight));
    }
    if let Some(bias) = ctx.optional("bias") {
        let expected = TensorType { dtype: weight.dtype, shape: vec![out] };
        if bias.ty.as_tensor() != Some(&expected) {
            return Err(InferError::operand("bias", expected.to_string(), bias.ty));
        }
    }
    let mut shape = outer.to_vec();
    shape.push(out);
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

/// Every element of the result is a product over the last axis of `x`.
pub(crate) fn multiplications(types: &CallTypes<'_>) -> Option<u64> {
    product(&types.result_shape()?)?.checked_mul(*types.shape("weight")?.last()?)
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let weight = call.tensor("weight")?;
    let &[out, inner] = weight.shape() else {
        return Err(InferError::operand("weight", "a tensor of rank 2", weight.ty()).into());
    };
    let Some((_, outer)) = x.shape().split_last().filter(|(last, _)| **last == inner) else {
        return Err(InferError::operand("x", format!("{inner} input channels"), x.ty()).into());
    };
    let rows: usize = outer.iter().product();
    let shape: Vec<usize> = outer.iter().copied().chain([out]).collect();
    check_size(&shape)?;
    if x.dtype().is_integer() {
        return Ok(vec![Tensor::integers(x.dtype(), &shape, integers(call, [rows, inner, out])?)?]);
    }
    let bias = match call.optional("bias") {
        Some(_) => call.floats("bias")?,
        None => Cow::default(),
    };
    let values = call.floats("x")?;
    let mut columns = vec![0.0; out * rows];
    let vectors = Matrix::row_major(&values, [rows, inner]).transposed();
    Projection { weight, start: 0, x: vectors, bias: &bias, numerics: call.numerics() }.write(&mut columns)?;
    let mut output = Vec::with_capacity(columns.len());
    let strides = [1, isize::try_from(rows).unwrap_or(isize::MAX)];
    strided_copy(&columns, 0, &[rows, out], &strides, &mut output);
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

/// The layer on integers, which wrap around.
fn integers(call: &Call<'_>, [rows, inner, out]: [usize; 3]) -> Result<Vec<i32>, EvaluateError> {
    let (x, weight) = (call.integers("x")?, call.integers("weight")?);
    let bias = call.optional_integers("bias")?.unwrap_or_default();
    let mut output = Vec::with_capacity(rows * out);
    for row in 0..rows {
        for column in 0..out {
            let x = x.iter().skip(row * inner).take(inner);
            let weight = weight.iter().skip(column * inner);
            let products = x.zip(weight).map(|(x, weight)| x.wrapping_mul(*weight));
            let sum = products.fold(0_i32, i32::wrapping_add);
            output.push(sum.wrapping_add(bias.get(column).copied().unwrap_or(0)));
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};

    #[test]
    fn the_last_axis_becomes_the_outputs() {
        let operands = Operands::default().with("x", fp16(&[1, -1, 8])).with("weight", fp16(&[4, 8]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[1, -1, 4])]));
    }

    #[test]
    fn channels_and_bias_must_fit() {
        let operands = || Operands::default().with("x", fp16(&[1, 8]));
        assert!(operands().with("weight", fp16(&[4, 7])).infer(&DECL).is_err());
        assert!(operands().with("weight", fp16(&[4])).infer(&DECL).is_err());
        assert!(operands().with("weight", fp16(&[4, 8])).with("bias", fp16(&[8])).infer(&DECL).is_err());
    }
}
