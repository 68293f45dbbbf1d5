//! `l2_norm`: normalization by the Euclidean norm.

use super::decl::{FLOATS, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEFORGE;
use super::reduce::{single, square, sum};
use super::shape::factor;
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "l2_norm",
    "Divides `x` by the Euclidean norm of its last three axes.",
    &[Parameter::new("x", FLOATS).group('T'), factor("epsilon").defaulted()],
    infer,
)
.computes(evaluate)
.seen(ANEFORGE);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    if x.rank() < 3 {
        return Err(InferError::operand("x", "a tensor of rank 3 or more", x));
    }
    Ok(vec![x.clone().into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let epsilon = f64::from(call.float_or("epsilon", 1e-6)?);
    let mut x = call.take("x")?;
    let length: usize = x.shape().iter().rev().take(3).product();
    if length != 0 {
        for block in x.floats_mut()?.chunks_exact_mut(length) {
            let norm = (sum(&*block, square) + epsilon).sqrt();
            for value in block {
                *value = single(f64::from(*value) / norm);
            }
        }
    }
    Ok(vec![x])
}
