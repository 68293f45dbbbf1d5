//! Random numbers. A device draws others each time; evaluation draws the same ones each time, so that runs can be
//! repeated: what stands here is the distribution, not a sequence.

use super::decl::{FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::fill::{lengths, sizes};
use super::shape::{known_int_or, known_string_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, check_made};
use crate::types::{Dimension, TensorType, ValueType};

const SHAPE: Parameter = Parameter::new("shape", INT32);
const SEED: Parameter = Parameter::new("seed", INT32).constant().defaulted();

const fn number(name: &'static str) -> Parameter {
    Parameter::new(name, FLOATS).group('T').constant().defaulted()
}

/// Zeros and ones.
pub static RANDOM_BERNOULLI: OpDecl = OpDecl::new(
    "random_bernoulli",
    "A tensor of `shape` of ones with probability `prob`, and zeros.",
    &[SHAPE, number("prob"), SEED],
    |ctx| infer(ctx, &["prob"]),
)
.computes(|call| {
    let probability = f64::from(call.float_or("prob", 0.5)?);
    drawn(call, "prob", |dice| if dice.unit() < probability { 1.0 } else { 0.0 })
});
/// Classes.
pub static RANDOM_CATEGORICAL: OpDecl = OpDecl::new(
    "random_categorical",
    "Draws `size` classes for each vector of `x`, which holds logits or probabilities.",
    &[
        Parameter::new("x", FLOATS),
        Parameter::new("mode", STRING).constant().defaulted(),
        Parameter::new("size", INT32).constant().defaulted(),
        SEED,
    ],
    infer_categorical,
)
.computes(categorical);
/// Numbers of the normal distribution.
pub static RANDOM_NORMAL: OpDecl = OpDecl::new(
    "random_normal",
    "A tensor of `shape` of numbers around `mean` with the deviation `stddev`.",
    &[SHAPE, number("mean"), number("stddev"), SEED],
    |ctx| infer(ctx, &["mean", "stddev"]),
)
.computes(|call| {
    let (mean, deviation) = (f64::from(call.float_or("mean", 0.0)?), f64::from(call.float_or("stddev", 1.0)?));
    drawn(call, "mean", |dice| mean + deviation * dice.normal())
});
/// Numbers between two others.
pub static RANDOM_UNIFORM: OpDecl = OpDecl::new(
    "random_uniform",
    "A tensor of `shape` of numbers from `low` to before `high`.",
    &[SHAPE, number("low"), number("high"), SEED],
    |ctx| infer(ctx, &["low", "high"]),
)
.computes(|call| {
    let (low, high) = (f64::from(call.float_or("low", 0.0)?), f64::from(call.float_or("high", 1.0)?));
    drawn(call, "low", |dice| low + (high - low) * dice.unit())
});

/// SplitMix64, which is the same on every machine.
struct Dice(u64);

impl Dice {
    fn of(call: &Call<'_>) -> Result<Self, EvaluateError> {
        Ok(Self(call.int_or("seed", -1)?.cast_unsigned()))
    }

    /// A number from 0 to before 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

fn infer(ctx: &OpContext<'_>, numbers: &[&str]) -> Result<Vec<ValueType>, InferError> {
    let given = numbers.iter().find(|number| ctx.optional(number).is_some());
    let dtype = given.map_or(Ok(DataType::Float32), |number| ctx.tensor(number).map(|ty| ty.dtype))?;
    Ok(vec![TensorType { dtype, shape: lengths(ctx, "shape")? }.into()])
}

#[expect(clippy::cast_possible_truncation, reason = "rounded to fp32")]
fn drawn(
    call: &Call<'_>,
    parameter: &str,
    mut draw: impl FnMut(&mut Dice) -> f64,
) -> Result<Vec<Tensor>, EvaluateError> {
    let shape = sizes(call, "shape")?;
    let mut dice = Dice::of(call)?;
    let declared = call.results().next().and_then(|result| result.ty.as_tensor()).map(|ty| ty.dtype);
    let dtype = call.optional(parameter).map(Tensor::dtype).or(declared).unwrap_or(DataType::Float32);
    let count = check_made(&shape)?;
    let values = (0..count).map(|_| draw(&mut dice) as f32).collect();
    Ok(vec![Tensor::floats(dtype, &shape, values)?])
}

/// # Shapes
/// `x: [.., classes]`; the result is `[.., size]`.
fn infer_categorical(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let Some((_, outer)) = x.shape.split_last() else {
        return Err(InferError::operand("x", "a tensor of rank 1 or more", x));
    };
    let mode = known_string_or(ctx, "mode", "logits")?;
    if !["logits", "probs"].contains(&mode) {
        return Err(InferError::operand("mode", "`logits` or `probs`", format!("`{mode}`")));
    }
    let size = known_int_or(ctx, "size", 1)?;
    let size = u64::try_from(size).map_err(|_| InferError::operand("size", "a count", size))?;
    let shape = outer.iter().copied().chain([Dimension::Fixed(size)]).collect();
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

#[expect(clippy::cast_precision_loss, reason = "classes are far below 2^24")]
fn categorical(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let Some((classes, outer)) = x.shape().split_last() else {
        return Err(InferError::operand("x", "a tensor of rank 1 or more", x.ty()).into());
    };
    let size = usize::try_from(call.int_or("size", 1)?).unwrap_or(0);
    let logits = call.string_or("mode", "logits")? == "logits";
    let shape: Vec<usize> = outer.iter().copied().chain([size]).collect();
    let mut output = Vec::with_capacity(check_made(&shape)?);
    let mut dice = Dice::of(call)?;
    for lane in call.floats("x")?.chunks((*classes).max(1)) {
        let largest = lane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |value: &f32| if logits { f64::from(value - largest).exp() } else { f64::from(*value) };
        let total: f64 = lane.iter().map(weight).sum();
        for _ in 0..size {
            let mut left = dice.unit() * total;
            let found = lane.iter().position(|value| {
                left -= weight(value);
                left < 0.0
            });
            output.push(found.unwrap_or(lane.len().saturating_sub(1)) as f32);
        }
    }
    output.resize(check_made(&shape)?, 0.0);
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_their_distribution() {
        let mut dice = Dice(7);
        let numbers: Vec<f64> = (0..10_000).map(|_| dice.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean}, {variance}");
        let units: Vec<f64> = (0..10_000).map(|_| dice.unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        assert!((units.iter().sum::<f64>() / 10_000.0 - 0.5).abs() < 0.02);
    }
}
