//! `rsqrt`: elementwise reciprocal square root.

use super::decl::{Effect, Evidence, FLOATS, OpDecl, Parameter, RENEWED, Results};
use super::elementwise::{like_x, map_floats};
use super::shape::factor;
use crate::evaluate::{Call, Evaluate, EvaluateError, Tensor};
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "rsqrt",
    doc: "Computes `1 / sqrt(x + epsilon)`.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", FLOATS).group('T'), factor("epsilon").defaulted()],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(evaluate),
    evidence: Evidence::None,
    renewed: RENEWED,
};

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let epsilon = call.float_or("epsilon", 1e-12)?;
    map_floats(call, |x| 1.0 / (x + epsilon).sqrt())
}
