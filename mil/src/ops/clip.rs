//! `clip`: elementwise clamp.

use half::f16;

use super::decl::{FLOATS, OpDecl, Parameter};
use super::elementwise::{larger, like_x, map_floats, smaller};
use super::evidence::SILERO;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "clip",
    "Keeps `x` between `alpha` and `beta`.",
    &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("alpha", FLOATS).group('T').constant(),
        Parameter::new("beta", FLOATS).group('T').constant(),
    ],
    like_x,
)
.computes(evaluate)
.seen(SILERO);

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (alpha, beta) = (call.float("alpha")?, call.float("beta")?);
    map_floats(call, |x| smaller(larger(x, alpha), beta))
}

impl FunctionBuilder {
    /// Keeps the elements of an fp16 `x` between `alpha` and `beta`.
    pub fn clip(&mut self, name: &str, x: &Var, alpha: f16, beta: f16) -> Result<Var, BuildError> {
        self.call(&DECL, name)
            .operand("x", x)
            .constant("alpha", Value::fp16(alpha))
            .constant("beta", Value::fp16(beta))
            .single()
    }
}
