//! `l2_norm`: normalization by the Euclidean norm.

use super::decl::{Effect, Evidence, FLOATS, InferError, OpContext, OpDecl, Parameter, RENEWED, Results};
use super::reduce::{single, square, sum};
use super::shape::factor;
use crate::evaluate::{Call, Evaluate, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "l2_norm",
    doc: "Divides `x` by the Euclidean norm of its last three axes.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", FLOATS).group('T'), factor("epsilon").defaulted()],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(evaluate),
    evidence: Evidence::None,
    renewed: RENEWED,
};

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
