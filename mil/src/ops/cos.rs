//! `cos`: elementwise cosine.

use super::decl::{Effect, Evidence, OpDecl, RENEWED, Results};
use super::elementwise::{FLOAT_X, like_x, map_floats};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "cos",
    doc: "Computes the cosine of `x`, in radians.",
    since: Opset::Ios15,
    parameters: FLOAT_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_floats(call, f32::cos)),
    evidence: Evidence::None,
    renewed: RENEWED,
};
