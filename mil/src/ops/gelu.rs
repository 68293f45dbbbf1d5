//! `gelu`: Gaussian error linear unit.

use super::decl::{Effect, FLOATS, InferError, OpContext, OpDecl, Parameter, Results, STRING, pending};
use super::shape::known_string_or;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "gelu",
    doc: "Multiplies `x` by the distribution function of the normal distribution.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", FLOATS), Parameter::new("mode", STRING).constant().defaulted()],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    const MODES: [&str; 3] = ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"];
    let x = ctx.tensor("x")?;
    let mode = known_string_or(ctx, "mode", "EXACT")?;
    if !MODES.contains(&mode) {
        return Err(InferError::operand("mode", MODES.join(", "), format!("`{mode}`")));
    }
    Ok(vec![x.clone().into()])
}
