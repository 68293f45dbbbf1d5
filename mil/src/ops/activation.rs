//! Activations with numbers of their own, for all elements or for each channel.

use rten_simd::SimdUnaryOp;
use rten_vecmath::Silu;

use super::decl::{FLOATS, InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::elementwise::{FLOAT_X, larger, like_x, map_floats, map_slices, map_x, smaller};
use super::evidence::{ANEFORGE, ANEMLL, SILERO, WATCH};
use super::shape::{compatible, factor};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, EvaluateFn, Tensor, along_axis};
use crate::opset::Opset;
use crate::types::ValueType;

const X: Parameter = Parameter::new("x", FLOATS).group('T');
const ALPHA: Parameter = factor("alpha");
const BETA: Parameter = factor("beta");
const X_ALPHA: &[Parameter] = &[X, ALPHA];
const X_ALPHA_BETA: &[Parameter] = &[X, ALPHA, BETA];
/// Axis of the channels, for which [`PRELU`] and [`SOFTPLUS_PARAMETRIC`] have a number each.
const CHANNELS: usize = 1;

const fn with_alpha(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, X_ALPHA, infer_scalars).computes(evaluate)
}

const fn with_both(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, X_ALPHA_BETA, infer_scalars).computes(evaluate)
}

/// A leaky rectifier with a ceiling.
pub static CLAMPED_RELU: OpDecl =
    with_both("clamped_relu", "`x`, or `alpha * x` where it is negative, but at most `beta`.", |call| {
        map_with_both(call, |x, alpha, beta| smaller(if x >= 0.0 { x } else { alpha * x }, beta))
    })
    .seen(ANEFORGE);
/// Exponential linear unit.
pub static ELU: OpDecl = with_alpha("elu", "`x`, or `alpha * (exp(x) - 1)` where it is negative.", |call| {
    map_with_alpha(call, |x, alpha| if x > 0.0 { x } else { alpha * x.exp_m1() })
})
.seen(WATCH);
/// A leaky rectifier.
pub static LEAKY_RELU: OpDecl = with_alpha("leaky_relu", "`x`, or `alpha * x` where it is negative.", |call| {
    map_with_alpha(call, |x, alpha| if x >= 0.0 { x } else { alpha * x })
})
.seen(WATCH);
/// A line.
pub static LINEAR_ACTIVATION: OpDecl = with_both("linear_activation", "Computes `alpha * x + beta`.", |call| {
    map_with_both(call, |x, alpha, beta| alpha * x + beta)
})
.seen(ANEFORGE);
/// A leaky rectifier with a slope for each channel.
pub static PRELU: OpDecl = OpDecl::new("prelu", "`x`, or `alpha[channel] * x` where it is negative.", X_ALPHA, |ctx| {
    infer_channels(ctx, &["alpha"])
})
.computes(|call| map_channels(call, |x, alpha, _| if x >= 0.0 { x } else { alpha * x }))
.seen(ANEFORGE);
/// A rectifier.
pub static RELU: OpDecl = OpDecl::new("relu", "Replaces what is negative in `x` by 0.", FLOAT_X, like_x)
    .computes(|call| map_floats(call, |x| larger(x, 0.0)))
    .seen(SILERO)
    .renewed(&[Opset::Ios16, Opset::Ios18]);
/// A rectifier with a ceiling of 6.
pub static RELU6: OpDecl = OpDecl::new("relu6", "Keeps `x` between 0 and 6.", FLOAT_X, like_x)
    .computes(|call| map_floats(call, |x| smaller(larger(x, 0.0), 6.0)))
    .seen(ANEFORGE);
/// A scaled hyperbolic tangent.
pub static SCALED_TANH: OpDecl = with_both("scaled_tanh", "Computes `alpha * tanh(beta * x)`.", |call| {
    map_with_both(call, |x, alpha, beta| alpha * (beta * x).tanh())
})
.seen(ANEFORGE);
/// A line between 0 and 1.
pub static SIGMOID_HARD: OpDecl = with_both("sigmoid_hard", "Keeps `alpha * x + beta` between 0 and 1.", |call| {
    map_with_both(call, |x, alpha, beta| smaller(larger(alpha * x + beta, 0.0), 1.0))
})
.seen(WATCH);
/// A gated identity.
pub static SILU: OpDecl = OpDecl::new("silu", "Multiplies `x` by its logistic sigmoid.", FLOAT_X, like_x)
    .computes(|call| map_slices(call, |values| Silu {}.map_mut(values)))
    .seen(ANEMLL)
    .renewed(&[Opset::Ios16, Opset::Ios18]);
/// A smooth rectifier.
pub static SOFTPLUS: OpDecl = OpDecl::new("softplus", "Computes `log(1 + exp(x))`.", FLOAT_X, like_x)
    .computes(|call| map_floats(call, softplus))
    .seen(ANEFORGE);
/// A smooth rectifier with two numbers for each channel.
pub static SOFTPLUS_PARAMETRIC: OpDecl = OpDecl::new(
    "softplus_parametric",
    "Computes `alpha[channel] * log(1 + exp(beta[channel] * x))`.",
    X_ALPHA_BETA,
    |ctx| infer_channels(ctx, &["alpha", "beta"]),
)
.computes(|call| map_channels(call, |x, alpha, beta| alpha * softplus(beta * x)))
.seen(ANEFORGE);
/// A smooth sign.
pub static SOFTSIGN: OpDecl = OpDecl::new("softsign", "Computes `x / (1 + abs(x))`.", FLOAT_X, like_x)
    .computes(|call| map_floats(call, |x| x / (1.0 + x.abs())))
    .seen(ANEFORGE);
/// A floor.
pub static THRESHOLD: OpDecl = OpDecl::new(
    "threshold",
    "`x`, but at least `alpha`.",
    &[Parameter::new("x", NUMBERS).group('T'), Parameter::new("alpha", NUMBERS).group('T').constant()],
    infer_scalars,
)
.computes(threshold)
.seen(ANEFORGE);
/// A rectifier that starts at a threshold.
pub static THRESHOLDED_RELU: OpDecl =
    with_alpha("thresholded_relu", "`x` where it is at least `alpha`, else 0.", |call| {
        map_with_alpha(call, |x, alpha| if x >= alpha { x } else { 0.0 })
    })
    .seen(ANEFORGE);

/// Without overflow: the exponential is of a negative number.
fn softplus(x: f32) -> f32 {
    larger(x, 0.0) + (-x.abs()).exp().ln_1p()
}

fn infer_scalars(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    for parameter in ["alpha", "beta"] {
        if ctx.optional(parameter).is_some() && ctx.tensor(parameter)?.rank() != 0 {
            return Err(InferError::operand(parameter, "a scalar", ctx.tensor(parameter)?));
        }
    }
    like_x(ctx)
}

/// # Shapes
/// `x: [batch, channels, ..]`, `alpha` and `beta`: `[channels]`.
fn infer_channels(ctx: &OpContext<'_>, factors: &[&str]) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let Some(channels) = x.shape.get(CHANNELS).filter(|_| x.rank() >= 3) else {
        return Err(InferError::operand("x", "a tensor of rank 3 or more", x));
    };
    for parameter in factors {
        let factors = ctx.tensor(parameter)?;
        if !matches!(factors.shape.as_slice(), [length] if compatible(*length, *channels)) {
            return Err(InferError::operand(parameter, format!("a vector of {channels} elements"), factors));
        }
    }
    like_x(ctx)
}

fn map_with_alpha(
    call: &mut Call<'_>,
    function: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<Vec<Tensor>, EvaluateError> {
    let alpha = call.float("alpha")?;
    map_floats(call, |x| function(x, alpha))
}

fn map_with_both(
    call: &mut Call<'_>,
    function: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Result<Vec<Tensor>, EvaluateError> {
    let (alpha, beta) = (call.float("alpha")?, call.float("beta")?);
    map_floats(call, |x| function(x, alpha, beta))
}

fn map_channels(call: &mut Call<'_>, function: impl Fn(f32, f32, f32) -> f32) -> Result<Vec<Tensor>, EvaluateError> {
    let alpha = call.floats("alpha")?.into_owned();
    let beta = call.optional("beta").map(|_| call.floats("beta")).transpose()?.unwrap_or_default().into_owned();
    let mut x = call.take("x")?;
    let [_, channels, inner] = along_axis(x.shape(), CHANNELS);
    if x.rank() <= CHANNELS || alpha.len() != channels || !(beta.is_empty() || beta.len() == channels) {
        return Err(InferError::operand("alpha", format!("a vector of {channels} elements"), alpha.len()).into());
    }
    if inner > 0 {
        for (row, values) in x.floats_mut()?.chunks_exact_mut(inner).enumerate() {
            let at = |factors: &[f32]| factors.get(row % channels).copied().unwrap_or(1.0);
            let (alpha, beta) = (at(&alpha), at(&beta));
            for value in values {
                *value = function(*value, alpha, beta);
            }
        }
    }
    Ok(vec![x])
}

fn threshold(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    if call.tensor("x")?.dtype().is_float() {
        return map_with_alpha(call, larger);
    }
    let alpha = i32::try_from(call.int_or("alpha", 0)?).unwrap_or(i32::MAX);
    map_x(call, |x| x, |x| x.max(alpha))
}

impl FunctionBuilder {
    /// Replaces what is negative in `x` by 0.
    pub fn relu(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&RELU, name).operand("x", x).single()
    }

    /// Multiplies `x` by its logistic sigmoid.
    pub fn silu(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&SILU, name).operand("x", x).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};

    #[test]
    fn the_result_is_like_x() {
        for decl in [&RELU, &SILU, &SOFTPLUS] {
            let x = fp16(&[1, -1, 3]);
            assert_eq!(Operands::default().with("x", x.clone()).infer(decl), Ok(vec![x]));
        }
    }

    #[test]
    fn x_must_be_given() {
        assert!(Operands::default().infer(&RELU).is_err());
    }

    #[test]
    fn a_channel_has_a_number_each() {
        let operands = |count| Operands::default().with("x", fp16(&[2, 3, 4])).with("alpha", fp16(&[count]));
        assert_eq!(operands(3).infer(&PRELU), Ok(vec![fp16(&[2, 3, 4])]));
        assert!(operands(4).infer(&PRELU).is_err());
    }
}
