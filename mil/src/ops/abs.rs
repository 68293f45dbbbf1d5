//! `abs`: elementwise absolute value.

use super::decl::{Effect, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X, like_x, map_x};
use super::evidence::KOKORO;
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "abs",
    doc: "Drops the sign of `x`.",
    since: Opset::Ios15,
    parameters: NUMBER_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_x(call, f32::abs, i32::wrapping_abs)),
    evidence: KOKORO,
    renewed: RENEWED,
};
