//! `floor_div`: elementwise division, rounded down.

use super::decl::{Effect, OpDecl, Results, pending};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "floor_div",
    doc: "Divides `x` by `y` and rounds down.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: broadcast_x_y,
    evaluate: Evaluate::Computes(pending),
};
