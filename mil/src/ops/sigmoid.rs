//! `sigmoid`: elementwise logistic sigmoid.

use super::decl::{Effect, OpDecl, Results};
use super::elementwise::{FLOAT_X, like_x, map_floats};
use super::evidence::SILERO;
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "sigmoid",
    doc: "Computes `1 / (1 + exp(-x))`.",
    since: Opset::Ios15,
    parameters: FLOAT_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_floats(call, |x| 1.0 / (1.0 + (-x).exp()))),
    evidence: SILERO,
    renewed: &[Opset::Ios16, Opset::Ios18],
};
