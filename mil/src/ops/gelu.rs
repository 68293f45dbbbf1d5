//! `gelu`: Gaussian error linear unit.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::decl::{FLOATS, InferError, OpContext, OpDecl, Parameter, STRING};
use super::elementwise::map_floats;
use super::evidence::WATCH;
use super::shape::known_string_or;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::types::ValueType;
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "gelu",
    "Multiplies `x` by the distribution function of the normal distribution.",
    &[Parameter::new("x", FLOATS), Parameter::new("mode", STRING).constant().defaulted()],
    infer,
)
.computes(evaluate)
.seen(WATCH);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    const MODES: [&str; 3] = ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"];
    let x = ctx.tensor("x")?;
    let mode = known_string_or(ctx, "mode", "EXACT")?;
    if !MODES.contains(&mode) {
        return Err(InferError::operand("mode", MODES.join(", "), format!("`{mode}`")));
    }
    Ok(vec![x.clone().into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    match call.string_or("mode", "EXACT")? {
        "TANH_APPROXIMATION" => map_floats(call, |x| {
            let inner = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }),
        "SIGMOID_APPROXIMATION" => map_floats(call, |x| x / (1.0 + (-1.702 * x).exp())),
        _ => map_floats(call, |x| 0.5 * x * libm::erfcf(-x * FRAC_1_SQRT_2)),
    }
}

impl FunctionBuilder {
    /// The unit with its distribution function approximated by a hyperbolic tangent.
    pub fn gelu_tanh(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("mode", Value::string("TANH_APPROXIMATION")).single()
    }
}
