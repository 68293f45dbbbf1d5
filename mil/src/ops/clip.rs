//! `clip`: elementwise clamp.

use super::decl::{Effect, FLOATS, OpDecl, Parameter, Results, pending};
use super::elementwise::like_x;
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "clip",
    doc: "Keeps `x` between `alpha` and `beta`.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("alpha", FLOATS).group('T').constant(),
        Parameter::new("beta", FLOATS).group('T').constant(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(pending),
};
