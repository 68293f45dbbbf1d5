//! `rsqrt`: elementwise reciprocal square root.

use super::decl::{Effect, FLOATS, OpDecl, Parameter, Results, pending};
use super::elementwise::like_x;
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "rsqrt",
    doc: "Computes `1 / sqrt(x + epsilon)`.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", FLOATS), Parameter::new("epsilon", FLOATS).constant().defaulted()],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(pending),
};
