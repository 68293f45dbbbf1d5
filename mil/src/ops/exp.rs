//! `exp`: elementwise exponential.

use super::decl::{Effect, Evidence, OpDecl, RENEWED, Results};
use super::elementwise::{FLOAT_X, like_x, map_floats};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "exp",
    doc: "Raises e to the power of `x`.",
    since: Opset::Ios15,
    parameters: FLOAT_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_floats(call, f32::exp)),
    evidence: Evidence::None,
    renewed: RENEWED,
};
