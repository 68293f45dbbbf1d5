//! `l2_norm`: normalization by the Euclidean norm.

use super::decl::{Effect, FLOATS, InferError, OpContext, OpDecl, Parameter, Results, pending};
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "l2_norm",
    doc: "Divides `x` by the Euclidean norm of its last three axes.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", FLOATS), Parameter::new("epsilon", FLOATS).constant().defaulted()],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    if x.rank() < 3 {
        return Err(InferError::operand("x", "a tensor of rank 3 or more", x));
    }
    Ok(vec![x.clone().into()])
}
