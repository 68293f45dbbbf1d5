//! `greater`: elementwise comparison.

use std::cmp::Ordering;

use super::decl::{Effect, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, compare_x_y, order_x_y};
use super::evidence::KOKORO;
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "greater",
    doc: "Tells where `x` is greater than `y`.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: compare_x_y,
    evaluate: Evaluate::Moves(|call| order_x_y(call, |order| order == Some(Ordering::Greater))),
    evidence: KOKORO,
    renewed: RENEWED,
};
