//! `real_div`: elementwise division.

use super::decl::{Effect, InferError, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, map_x_y};
use super::evidence::KOKORO;
use crate::evaluate::{Call, Evaluate, EvaluateError, Tensor};
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "real_div",
    doc: "Divides `x` by `y`; integers are rounded towards zero.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: broadcast_x_y,
    evaluate: Evaluate::Computes(evaluate),
    evidence: KOKORO,
    renewed: RENEWED,
};

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    if call.tensor("y")?.dtype().is_integer() && call.integers("y")?.contains(&0) {
        return Err(InferError::operand("y", "integers other than 0", 0).into());
    }
    map_x_y(call, |x, y| x / y, i32::wrapping_div)
}
