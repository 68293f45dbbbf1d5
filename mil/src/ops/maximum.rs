//! `maximum`: elementwise maximum.

use super::decl::{Effect, Evidence, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, larger, map_x_y};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "maximum",
    doc: "Takes the larger of `x` and `y`.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: broadcast_x_y,
    evaluate: Evaluate::Computes(|call| map_x_y(call, larger, Ord::max)),
    evidence: Evidence::None,
    renewed: RENEWED,
};
