//! `tanh`: elementwise hyperbolic tangent.

use super::decl::{Effect, OpDecl, Results};
use super::elementwise::{FLOAT_X, like_x, map_floats};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "tanh",
    doc: "Computes the hyperbolic tangent of `x`.",
    since: Opset::Ios15,
    parameters: FLOAT_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_floats(call, f32::tanh)),
};

impl FunctionBuilder {
    /// The hyperbolic tangent of `x`.
    pub fn tanh(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).single()
    }
}
