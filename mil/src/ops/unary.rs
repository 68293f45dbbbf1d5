//! Functions of one element: rounding, trigonometry, exponentials and logarithms.

use super::decl::{FLOATS, OpDecl, Parameter};
use super::elementwise::{FLOAT_X, NUMBER_X, like_x, map_floats, map_x};
use super::evidence::{ANEFORGE, KOKORO, PARAKEET, SILERO, WATCH};
use super::shape::factor;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, EvaluateFn, Tensor};
use crate::opset::Opset;

const fn of_floats(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, FLOAT_X, like_x).computes(evaluate)
}

const fn of_numbers(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, NUMBER_X, like_x).computes(evaluate)
}

/// `x`, and `epsilon`, which is added to it.
const X_EPSILON: &[Parameter] = &[Parameter::new("x", FLOATS).group('T'), EPSILON];
const EPSILON: Parameter = factor("epsilon").defaulted();

/// Absolute value.
pub static ABS: OpDecl =
    of_numbers("abs", "Drops the sign of `x`.", |call| map_x(call, f32::abs, i32::wrapping_abs)).seen(KOKORO);
/// Arc cosine.
pub static ACOS: OpDecl = of_floats("acos", "The angle whose cosine is `x`.", |call| map_floats(call, f32::acos));
/// Arc sine.
pub static ASIN: OpDecl = of_floats("asin", "The angle whose sine is `x`.", |call| map_floats(call, f32::asin));
/// Arc tangent.
pub static ATAN: OpDecl =
    of_floats("atan", "The angle whose tangent is `x`.", |call| map_floats(call, f32::atan)).seen(KOKORO);
/// Inverse hyperbolic tangent.
pub static ATANH: OpDecl =
    of_floats("atanh", "The number whose hyperbolic tangent is `x`.", |call| map_floats(call, atanh));
/// Rounding up.
pub static CEIL: OpDecl = of_floats("ceil", "Rounds `x` up.", |call| map_floats(call, f32::ceil)).seen(WATCH);
/// Cosine.
pub static COS: OpDecl =
    of_floats("cos", "Computes the cosine of `x`, in radians.", |call| map_floats(call, f32::cos)).seen(ANEFORGE);
/// Hyperbolic cosine.
pub static COSH: OpDecl = of_floats("cosh", "The hyperbolic cosine of `x`.", |call| map_floats(call, f32::cosh));
/// Error function.
pub static ERF: OpDecl =
    of_floats("erf", "The error function of `x`.", |call| map_floats(call, libm::erff)).seen(ANEFORGE);
/// Exponential.
pub static EXP: OpDecl =
    of_floats("exp", "Raises e to the power of `x`.", |call| map_floats(call, f32::exp)).seen(WATCH);
/// Powers of two.
pub static EXP2: OpDecl =
    of_numbers("exp2", "Two to the power of `x`.", |call| map_x(call, f32::exp2, two_to_the_power)).seen(ANEFORGE);
/// Rounding down.
pub static FLOOR: OpDecl = of_floats("floor", "Rounds `x` down.", |call| map_floats(call, f32::floor)).seen(PARAKEET);
/// Reciprocal.
pub static INVERSE: OpDecl = OpDecl::new("inverse", "Computes `1 / (x + epsilon)`.", X_EPSILON, like_x)
    .computes(|call| with_epsilon(call, 1e-4, f32::recip))
    .seen(ANEFORGE);
/// Natural logarithm.
pub static LOG: OpDecl = OpDecl::new("log", "The natural logarithm of `x + epsilon`.", X_EPSILON, like_x)
    .computes(|call| with_epsilon(call, 1e-45, f32::ln))
    .seen(PARAKEET);
/// Negation of a truth value.
pub static LOGICAL_NOT: OpDecl =
    OpDecl::new("logical_not", "Whether `x` is false.", &[Parameter::new("x", super::decl::BOOL)], like_x)
        .moves(not)
        .seen(PARAKEET);
/// Rounding to the nearest.
pub static ROUND: OpDecl = of_floats("round", "Rounds `x` to the nearest integer, halves to the even one.", |call| {
    map_floats(call, f32::round_ties_even)
})
.seen(ANEFORGE);
/// Logistic sigmoid.
pub static SIGMOID: OpDecl =
    of_floats("sigmoid", "Computes `1 / (1 + exp(-x))`.", |call| map_floats(call, |x| 1.0 / (1.0 + (-x).exp())))
        .seen(SILERO)
        .renewed(&[Opset::Ios16, Opset::Ios18]);
/// Reciprocal square root.
pub static RSQRT: OpDecl = OpDecl::new("rsqrt", "Computes `1 / sqrt(x + epsilon)`.", X_EPSILON, like_x)
    .computes(|call| with_epsilon(call, 1e-12, |x| 1.0 / x.sqrt()))
    .seen(ANEFORGE);
/// Sign.
pub static SIGN: OpDecl =
    of_numbers("sign", "-1, 0 or 1, by the sign of `x`.", |call| map_x(call, sign, i32::signum)).seen(ANEFORGE);
/// Sine.
pub static SIN: OpDecl =
    of_floats("sin", "Computes the sine of `x`, in radians.", |call| map_floats(call, f32::sin)).seen(KOKORO);
/// Hyperbolic sine.
pub static SINH: OpDecl = of_floats("sinh", "The hyperbolic sine of `x`.", |call| map_floats(call, f32::sinh));
/// Square root.
pub static SQRT: OpDecl =
    of_floats("sqrt", "Takes the square root of `x`.", |call| map_floats(call, f32::sqrt)).seen(SILERO);
/// Square.
pub static SQUARE: OpDecl =
    of_numbers("square", "Multiplies `x` by itself.", |call| map_x(call, |x| x * x, |x| x.wrapping_mul(x)))
        .seen(ANEFORGE);
/// Tangent.
pub static TAN: OpDecl = of_floats("tan", "The tangent of `x`.", |call| map_floats(call, f32::tan));
/// Hyperbolic tangent.
pub static TANH: OpDecl =
    of_floats("tanh", "Computes the hyperbolic tangent of `x`.", |call| map_floats(call, f32::tanh))
        .seen(KOKORO)
        .renewed(&[Opset::Ios16, Opset::Ios18]);

/// In f64, because the usual formula loses the last digits of small numbers.
#[expect(clippy::cast_possible_truncation, reason = "rounded once at the end")]
fn atanh(x: f32) -> f32 {
    f64::from(x).atanh() as f32
}

fn sign(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

/// Wraps like other integer arithmetic; a fraction is rounded to 0.
fn two_to_the_power(x: i32) -> i32 {
    u32::try_from(x).ok().and_then(|x| 1_i32.checked_shl(x)).unwrap_or(0)
}

fn with_epsilon(
    call: &mut Call<'_>,
    default: f32,
    function: impl Fn(f32) -> f32 + Sync,
) -> Result<Vec<Tensor>, EvaluateError> {
    let epsilon = call.float_or("epsilon", default)?;
    map_floats(call, |x| function(x + epsilon))
}

fn not(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    Ok(vec![Tensor::bools(x.shape(), x.as_bools()?.iter().map(|x| !x).collect())?])
}

impl FunctionBuilder {
    /// Computes the logistic sigmoid of `x`.
    pub fn sigmoid(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&SIGMOID, name).operand("x", x).single()
    }

    /// Computes the hyperbolic tangent of `x`.
    pub fn tanh(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&TANH, name).operand("x", x).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_powers_of_two_are_no_integers() {
        assert_eq!([-1, 0, 5, 31, 32, i32::MIN].map(two_to_the_power), [0, 1, 32, i32::MIN, 0, 0]);
    }

    #[test]
    fn epsilon_may_differ_in_type_from_ios17_on() {
        assert_eq!(EPSILON.group_in(Opset::Ios16), Some('T'));
        assert_eq!(EPSILON.group_in(Opset::Ios17), Some('U'));
    }
}
