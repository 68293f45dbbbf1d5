//! Normalizations over channels: by numbers of the program, by what stands in each image, or by neighbouring channels.

use rayon::prelude::*;

use super::decl::{FLOATS, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::{ANEFORGE, KOKORO};
use super::shape::{compatible, factor, known_int_or};
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::types::ValueType;

const X: Parameter = Parameter::new("x", FLOATS).group('T');
/// Axis of the channels.
const CHANNELS: usize = 1;

/// By means and variances of the program.
pub static BATCH_NORM: OpDecl = OpDecl::new(
    "batch_norm",
    "Normalizes each channel of `x` by a given mean and variance.",
    &[
        X,
        factor("mean"),
        factor("variance"),
        factor("gamma").optional(),
        factor("beta").optional(),
        factor("epsilon").defaulted(),
    ],
    |ctx| infer(ctx, 2..=5),
)
.computes(batch_norm)
.seen(ANEFORGE);
/// By the mean and variance of each channel of each image.
pub static INSTANCE_NORM: OpDecl = OpDecl::new(
    "instance_norm",
    "Normalizes each channel of each image of `x` by its own mean and variance.",
    &[X, factor("gamma").optional(), factor("beta").optional(), factor("epsilon").defaulted()],
    |ctx| infer(ctx, 3..=5),
)
.computes(instance_norm)
.seen(KOKORO);
/// By the squares of neighbouring channels.
pub static LOCAL_RESPONSE_NORM: OpDecl = OpDecl::new(
    "local_response_norm",
    "Divides `x` by `(k + alpha / size * sum(x^2))^beta`, the sum over `size` channels around.",
    &[
        X,
        Parameter::new("size", INT32).constant(),
        factor("alpha").defaulted(),
        factor("beta").defaulted(),
        factor("k").defaulted(),
    ],
    infer_local,
)
.computes(local_response_norm)
.seen(ANEFORGE);

/// # Shapes
/// `x: [batch, channels, spatial..]`, every vector `[channels]`; the result is like `x`.
fn infer(ctx: &OpContext<'_>, ranks: std::ops::RangeInclusive<usize>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let Some(channels) = x.shape.get(CHANNELS).filter(|_| ranks.contains(&x.rank())) else {
        return Err(InferError::operand("x", format!("a tensor of rank {} to {}", ranks.start(), ranks.end()), x));
    };
    for parameter in ["mean", "variance", "gamma", "beta"] {
        if ctx.optional(parameter).is_none() {
            continue;
        }
        let vector = ctx.tensor(parameter)?;
        if !matches!(vector.shape.as_slice(), [length] if compatible(*length, *channels)) {
            return Err(InferError::operand(parameter, format!("a vector of {channels} elements"), vector));
        }
    }
    Ok(vec![x.clone().into()])
}

fn infer_local(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    if x.rank() < 3 {
        return Err(InferError::operand("x", "a tensor of rank 3 or more", x));
    }
    let size = known_int_or(ctx, "size", 1)?;
    if size < 1 {
        return Err(InferError::operand("size", "a positive integer", size));
    }
    Ok(vec![x.clone().into()])
}

/// A number for each channel; `default` where it is absent.
fn channels_of(call: &Call<'_>, parameter: &str, count: usize, default: f32) -> Result<Vec<f64>, EvaluateError> {
    let Some(tensor) = call.optional(parameter) else { return Ok(vec![f64::from(default); count]) };
    if tensor.shape() != [count] {
        return Err(InferError::operand(parameter, format!("a vector of {count} elements"), tensor.ty()).into());
    }
    Ok(call.floats(parameter)?.iter().map(|value| f64::from(*value)).collect())
}

fn batch_norm(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let [_, count, inner] = along_axis(call.tensor("x")?.shape(), CHANNELS);
    let epsilon = f64::from(call.float_or("epsilon", 1e-5)?);
    let (mean, variance) = (channels_of(call, "mean", count, 0.0)?, channels_of(call, "variance", count, 1.0)?);
    let (gamma, beta) = (channels_of(call, "gamma", count, 1.0)?, channels_of(call, "beta", count, 0.0)?);
    let mut x = call.take("x")?;
    x.floats_mut()?.par_chunks_mut(inner.max(1)).enumerate().for_each(|(row, values)| {
        let channel = row % count.max(1);
        let at = |numbers: &[f64]| numbers.get(channel).copied().unwrap_or(f64::NAN);
        let scale = at(&gamma) / (at(&variance) + epsilon).sqrt();
        apply_line(values, scale, at(&beta) - at(&mean) * scale);
    });
    Ok(vec![x])
}

#[expect(clippy::cast_precision_loss, reason = "counts of elements are far below 2^53")]
fn instance_norm(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let [_, count, inner] = along_axis(call.tensor("x")?.shape(), CHANNELS);
    let epsilon = f64::from(call.float_or("epsilon", 1e-5)?);
    let (gamma, beta) = (channels_of(call, "gamma", count, 1.0)?, channels_of(call, "beta", count, 0.0)?);
    let mut x = call.take("x")?;
    x.floats_mut()?.par_chunks_mut(inner.max(1)).enumerate().for_each(|(row, values)| {
        let channel = row % count.max(1);
        let length = values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / length;
        let variance = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / length;
        let at = |numbers: &[f64]| numbers.get(channel).copied().unwrap_or(f64::NAN);
        let scale = at(&gamma) / (variance + epsilon).sqrt();
        apply_line(values, scale, at(&beta) - mean * scale);
    });
    Ok(vec![x])
}

#[expect(clippy::cast_possible_truncation, reason = "rounded once at the end")]
fn apply_line(values: &mut [f32], scale: f64, shift: f64) {
    for value in values {
        *value = (f64::from(*value) * scale + shift) as f32;
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounded once at the end")]
fn local_response_norm(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let [_, count, inner] = along_axis(x.shape(), CHANNELS);
    let size = call.int_or("size", 1)?;
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| InferError::operand("size", "a positive integer", "another number"))?;
    let alpha = f64::from(call.float_or("alpha", 1e-4)?) / size as f64;
    let (beta, k) = (f64::from(call.float_or("beta", 0.75)?), f64::from(call.float_or("k", 1.0)?));
    let values = call.floats("x")?;
    let mut output = vec![0.0; values.len()];
    // The odd channel of an even window stands before.
    let (before, after) = (size / 2, (size - 1) / 2);
    let image = count * inner;
    if image > 0 {
        output.par_chunks_mut(image).zip(values.par_chunks(image)).for_each(|(output, values)| {
            for (place, output) in output.iter_mut().enumerate() {
                let (channel, column) = (place / inner, place % inner);
                let window = channel.saturating_sub(before)..channel.saturating_add(after).saturating_add(1).min(count);
                let square =
                    |channel: usize| values.get(channel * inner + column).map_or(0.0, |x| f64::from(*x).powi(2));
                let sum: f64 = window.map(square).sum();
                let value = values.get(place).copied().unwrap_or(f32::NAN);
                *output = (f64::from(value) / (k + alpha * sum).powf(beta)) as f32;
            }
        });
    }
    Ok(vec![Tensor::floats(x.dtype(), x.shape(), output)?])
}
