//! `pow`: elementwise power.

use super::decl::{Effect, InferError, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, map_x_y};
use super::evidence::SILERO;
use crate::evaluate::{Call, Evaluate, EvaluateError, Tensor};
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "pow",
    doc: "Raises `x` to the power of `y`.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: broadcast_x_y,
    evaluate: Evaluate::Computes(evaluate),
    evidence: SILERO,
    renewed: RENEWED,
};

/// Integers wrap like other arithmetic, and have no powers that are fractions.
fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let y = call.tensor("y")?;
    if y.dtype().is_integer()
        && let Some(negative) = call.integers("y")?.iter().find(|y| **y < 0)
    {
        return Err(InferError::operand("y", "exponents of integers that are not negative", negative).into());
    }
    map_x_y(call, f32::powf, |x, y| x.wrapping_pow(y.unsigned_abs()))
}
