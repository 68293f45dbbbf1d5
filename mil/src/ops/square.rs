//! `square`: elementwise square.

use super::decl::{Effect, Evidence, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X, like_x, map_x};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "square",
    doc: "Multiplies `x` by itself.",
    since: Opset::Ios15,
    parameters: NUMBER_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_x(call, |x| x * x, |x| x.wrapping_mul(x))),
    evidence: Evidence::None,
    renewed: RENEWED,
};
