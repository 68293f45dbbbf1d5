//! Windows that move over the spatial axes of a tensor, as convolutions and pools have them.

use super::decl::{InferError, OpContext};
use crate::evaluate::{Call, EvaluateError};
use crate::types::Dimension;

/// The length of the result on a spatial axis of length `size`, under a window of `kernel` places.
///
/// `strides`, `dilations`, `pad_type` and `pad` are read from the operands; absent ones are ones, `valid` and zeros. With
/// `ceil`, a last window that is only partly inside counts.
pub(super) fn spatial_size(
    ctx: &OpContext<'_>,
    axis: usize,
    size: Dimension,
    kernel: Dimension,
    ceil: bool,
) -> Result<Dimension, InferError> {
    let at = |parameter: &str, index: usize, default: i64| -> Result<i64, InferError> {
        Ok(ctx.ints(parameter)?.and_then(|values| values.get(index).copied()).unwrap_or(default))
    };
    let (Some(size), Some(kernel)) = (size.fixed(), kernel.fixed()) else { return Ok(Dimension::Unknown) };
    let stride = at("strides", axis, 1)?;
    let dilation = at("dilations", axis, 1)?;
    if stride < 1 || dilation < 1 {
        return Err(InferError::operand("strides", "positive strides and dilations", stride.min(dilation)));
    }
    let (wide, stride) = (|value: u64| i128::from(value), i128::from(stride));
    let [before, after] = match ctx.string_or("pad_type", "valid")? {
        "valid" => [0, 0],
        "same" | "same_lower" => {
            let result = wide(size).div_euclid(stride) + i128::from(wide(size) % stride != 0);
            return Ok(Dimension::Fixed(u64::try_from(result).unwrap_or(0)));
        }
        "custom" => [i128::from(at("pad", 2 * axis, 0)?), i128::from(at("pad", 2 * axis + 1, 0)?)],
        other => return Err(unknown_pad_type(other)),
    };
    let window = i128::from(dilation) * (wide(kernel) - 1) + 1;
    let spare = wide(size) + before + after - window;
    let mut result = (spare + if ceil { stride - 1 } else { 0 }).div_euclid(stride) + 1;
    if ceil && before + after > 0 && (result - 1) * stride >= wide(size) + before {
        result -= 1;
    }
    let result = u64::try_from(result).ok().filter(|result| *result > 0);
    result
        .map(Dimension::Fixed)
        .ok_or_else(|| InferError::Mismatch(format!("kernel of {kernel} does not fit spatial axis {axis} of {size}")))
}

fn unknown_pad_type(found: &str) -> InferError {
    InferError::operand("pad_type", "`valid`, `same`, `same_lower` or `custom`", format!("`{found}`"))
}

/// One spatial axis of a running program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Length of `x`.
    pub(super) size: usize,
    /// Places of the window.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Places before the first of `x` that count as zeros.
    pub(super) before: usize,
    /// Places behind the last of `x` that count as zeros.
    pub(super) after: usize,
    /// Length of the result.
    pub(super) output: usize,
}

impl Axis {
    /// The place of `x` that the element `kernel` of the window sees from `output`, if it is not padding.
    pub(super) fn place(&self, output: usize, kernel: usize) -> Option<usize> {
        let place = (output * self.stride).saturating_add(kernel * self.dilation).checked_sub(self.before)?;
        (place < self.size).then_some(place)
    }

    /// Where, along `x`, a window without gaps begins and ends that is seen from `output`.
    pub(super) fn range(&self, output: usize) -> std::ops::Range<usize> {
        let start = output.saturating_mul(self.stride);
        let end = start.saturating_add(self.kernel).saturating_sub(self.before).min(self.size);
        start.saturating_sub(self.before).min(end)..end
    }

    /// How many places of that window are in `x` or its padding.
    pub(super) fn padded_length(&self, output: usize) -> usize {
        let start = output.saturating_mul(self.stride);
        let end = self.size.saturating_add(self.before).saturating_add(self.after);
        start.saturating_add(self.kernel).min(end).saturating_sub(start)
    }
}

/// The spatial axes of a call on `x` of lengths `spatial`. Parameters are as in [`spatial_size`].
pub(super) fn axes(
    call: &Call<'_>,
    spatial: &[usize],
    kernel: &[usize],
    pad_type: &str,
    ceil: bool,
) -> Result<Vec<Axis>, EvaluateError> {
    let strides = positive(call, "strides", spatial.len())?;
    let dilations = positive(call, "dilations", spatial.len())?;
    let pads = pads(call, pad_type, spatial.len())?;
    let sizes = spatial.iter().zip(kernel);
    let steps = strides.iter().zip(&dilations).zip(pads);
    sizes
        .zip(steps)
        .map(|((size, kernel), ((stride, dilation), [before, after]))| {
            let misfit = || InferError::Mismatch(format!("a kernel of {kernel} does not fit an axis of {size}"));
            let window = kernel.checked_sub(1).and_then(|steps| steps.checked_mul(*dilation)?.checked_add(1));
            let window = window.ok_or_else(misfit)?;
            let axis =
                Axis { size: *size, kernel: *kernel, stride: *stride, dilation: *dilation, before, after, output: 0 };
            if matches!(pad_type, "same" | "same_lower") {
                // As many places as windows that step by `stride` from the first one on need; the odd one goes behind, or
                // before for `same_lower`.
                let output = size.div_ceil(*stride);
                let needed = output.saturating_sub(1).saturating_mul(*stride).saturating_add(window);
                let padding = needed.saturating_sub(*size);
                let before = if pad_type == "same" { padding / 2 } else { padding.div_ceil(2) };
                return Ok(Axis { before, after: padding - before, output, ..axis });
            }
            let padded = size.checked_add(before).and_then(|size| size.checked_add(after));
            let spare = padded.and_then(|padded| padded.checked_sub(window)).ok_or_else(misfit)?;
            let mut output = if ceil { spare.div_ceil(*stride) } else { spare / stride } + 1;
            if ceil && before + after > 0 && (output - 1).saturating_mul(*stride) >= size + before {
                output -= 1;
            }
            Ok(Axis { output, ..axis })
        })
        .collect()
}

/// The positive numbers of `parameter`, one per spatial axis; ones where it is absent.
pub(super) fn positive(call: &Call<'_>, parameter: &str, rank: usize) -> Result<Vec<usize>, EvaluateError> {
    let Some(values) = call.optional_integers(parameter)? else { return Ok(vec![1; rank]) };
    let positive: Option<Vec<usize>> =
        values.iter().map(|value| usize::try_from(*value).ok().filter(|value| *value > 0)).collect();
    let expected = || InferError::operand(parameter, format!("{rank} positive integers"), format!("{values:?}"));
    Ok(positive.filter(|values| values.len() == rank).ok_or_else(expected)?)
}

/// The padding before and after each spatial axis; zeros where `pad_type` says it otherwise.
pub(super) fn pads(call: &Call<'_>, pad_type: &str, rank: usize) -> Result<Vec<[usize; 2]>, EvaluateError> {
    match pad_type {
        "valid" | "same" | "same_lower" => return Ok(vec![[0, 0]; rank]),
        "custom" => {}
        other => return Err(unknown_pad_type(other).into()),
    }
    let Some(values) = call.optional_integers("pad")? else { return Ok(vec![[0, 0]; rank]) };
    let counts: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
    let expected = || InferError::operand("pad", format!("{} counts", 2 * rank), format!("{values:?}"));
    let counts = counts.filter(|counts| counts.len() == 2 * rank).ok_or_else(expected)?;
    Ok(counts.as_chunks::<2>().0.to_vec())
}
