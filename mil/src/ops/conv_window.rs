//! The evaluation of `conv` where an output depends on several places of `x`: patches of `x` become the columns of a matrix.

use rayon::prelude::*;

use super::decl::InferError;
use crate::evaluate::{Call, EvaluateError, Matrix, Projection, Tensor, along_axis, check_size, row_major};

/// Floats of the matrix of patches that are in memory at a time.
const PATCH_FLOATS: usize = 1 << 22;

/// One spatial axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Length of `x`.
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Places before the first of `x` that count as zeros.
    before: usize,
    /// Length of the result.
    output: usize,
}

impl Axis {
    /// The place of `x` that the element `kernel` of the kernel sees from `output`, if it is not padding.
    fn place(&self, output: usize, kernel: usize) -> Option<usize> {
        let place = (output * self.stride).saturating_add(kernel * self.dilation).checked_sub(self.before)?;
        (place < self.size).then_some(place)
    }
}

/// A convolution of any kind.
///
/// # Shapes
/// `x: [batch, channels, spatial..]`, `weight: [outputs, channels / groups, kernel..]`, `bias: [outputs]`.
pub(super) fn convolution(call: &Call<'_>, x: &Tensor, weight: &Tensor) -> Result<Vec<Tensor>, EvaluateError> {
    let misfit = || InferError::operand("weight", format!("a weight for {}", x.ty()), weight.ty());
    let ([batch, channels, spatial @ ..], [outputs, inputs, kernel @ ..]) = (x.shape(), weight.shape()) else {
        return Err(misfit().into());
    };
    let (batch, channels, outputs, inputs) = (*batch, *channels, *outputs, *inputs);
    let groups = usize::try_from(call.int_or("groups", 1)?).unwrap_or(0);
    let divides = channels.checked_rem(groups) == Some(0) && outputs.checked_rem(groups) == Some(0);
    if spatial.len() != kernel.len() || !divides || channels / groups != inputs {
        return Err(misfit().into());
    }
    let axes = axes(call, spatial, kernel)?;
    let shape: Vec<usize> = [batch, outputs].into_iter().chain(axes.iter().map(|axis| axis.output)).collect();
    let mut output = vec![0.0; check_size(&shape)?];
    let places: usize = axes.iter().map(|axis| axis.output).product();
    let [_, _, inner] = along_axis(weight.shape(), 0);
    let bias = call.optional("bias").map(|_| call.floats("bias")).transpose()?.unwrap_or_default();
    let values = call.floats("x")?;
    let rows = outputs / groups;
    let step = (PATCH_FLOATS / inner.max(1)).clamp(1, places.max(1));
    let mut patches = vec![0.0; inner * step];
    let mut part = vec![0.0; rows * step];
    for index in 0..batch * groups {
        let (group, count) = (index % groups, inputs * spatial.iter().product::<usize>());
        let x = values.get(index * count..(index + 1) * count).unwrap_or_default();
        let output = output.get_mut(index * rows * places..(index + 1) * rows * places).unwrap_or_default();
        let bias = bias.get(group * rows..(group + 1) * rows).unwrap_or_default();
        for first in (0..places).step_by(step) {
            let width = step.min(places - first);
            patches.resize(inner * width, 0.0);
            part.resize(rows * width, 0.0);
            fill(&mut patches, x, &axes, first, width);
            let x = Matrix::row_major(&patches, [inner, width]);
            let start = group * rows * inner;
            Projection { weight, start, x, bias, numerics: call.numerics() }.write(&mut part)?;
            for (output, part) in output.chunks_exact_mut(places).zip(part.chunks_exact(width)) {
                if let Some(output) = output.get_mut(first..first + width) {
                    output.copy_from_slice(part);
                }
            }
        }
    }
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

/// Writes one column for each output from `first` on: what the kernel sees from there.
fn fill(patches: &mut [f32], x: &[f32], axes: &[Axis], first: usize, width: usize) {
    let kernel_count: usize = axes.iter().map(|axis| axis.kernel).product();
    let size: usize = axes.iter().map(|axis| axis.size).product();
    let strides = row_major(&axes.iter().map(|axis| axis.size).collect::<Vec<_>>());
    patches.par_chunks_mut(width).enumerate().for_each(|(row, patch)| {
        let (channel, element) = (row / kernel_count, row % kernel_count);
        for (index, value) in patch.iter_mut().enumerate() {
            let (mut output, mut kernel) = (first + index, element);
            let mut place = Some(channel * size);
            for (axis, stride) in axes.iter().zip(&strides).rev() {
                let own = axis.place(output % axis.output, kernel % axis.kernel);
                place = place.zip(own).map(|(place, own)| place + own * stride);
                output /= axis.output;
                kernel /= axis.kernel;
            }
            *value = place.and_then(|place| x.get(place)).copied().unwrap_or(0.0);
        }
    });
}

fn axes(call: &Call<'_>, spatial: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, EvaluateError> {
    let strides = positive(call, "strides", spatial.len())?;
    let dilations = positive(call, "dilations", spatial.len())?;
    let pad_type = call.string_or("pad_type", "valid")?;
    let pads = pads(call, pad_type, spatial.len())?;
    let sizes = spatial.iter().zip(kernel);
    let steps = strides.iter().zip(&dilations).zip(pads);
    sizes
        .zip(steps)
        .map(|((size, kernel), ((stride, dilation), [before, after]))| {
            let misfit = || InferError::Mismatch(format!("a kernel of {kernel} does not fit an axis of {size}"));
            let window = kernel.checked_sub(1).and_then(|steps| steps.checked_mul(*dilation)?.checked_add(1));
            let window = window.ok_or_else(misfit)?;
            let axis = Axis { size: *size, kernel: *kernel, stride: *stride, dilation: *dilation, before, output: 0 };
            if matches!(pad_type, "same" | "same_lower") {
                // As many places as windows that step by `stride` from the first one on need; the odd one goes behind, or
                // before for `same_lower`.
                let output = size.div_ceil(*stride);
                let needed = output.saturating_sub(1).saturating_mul(*stride).saturating_add(window);
                let padding = needed.saturating_sub(*size);
                let before = if pad_type == "same" { padding / 2 } else { padding.div_ceil(2) };
                return Ok(Axis { before, output, ..axis });
            }
            let padded = size.checked_add(before).and_then(|size| size.checked_add(after));
            let output = padded.and_then(|padded| padded.checked_sub(window)).ok_or_else(misfit)? / stride + 1;
            Ok(Axis { output, ..axis })
        })
        .collect()
}

/// The positive numbers of `parameter`, one per spatial axis; ones where it is absent.
fn positive(call: &Call<'_>, parameter: &str, rank: usize) -> Result<Vec<usize>, EvaluateError> {
    let Some(values) = call.optional_integers(parameter)? else { return Ok(vec![1; rank]) };
    let positive: Option<Vec<usize>> =
        values.iter().map(|value| usize::try_from(*value).ok().filter(|value| *value > 0)).collect();
    let expected = || InferError::operand(parameter, format!("{rank} positive integers"), format!("{values:?}"));
    Ok(positive.filter(|values| values.len() == rank).ok_or_else(expected)?)
}

/// The padding before and after each spatial axis; zeros where `pad_type` says it otherwise.
fn pads(call: &Call<'_>, pad_type: &str, rank: usize) -> Result<Vec<[usize; 2]>, EvaluateError> {
    match pad_type {
        "valid" | "same" | "same_lower" => return Ok(vec![[0, 0]; rank]),
        "custom" => {}
        other => {
            let expected = "`valid`, `same`, `same_lower` or `custom`";
            return Err(InferError::operand("pad_type", expected, format!("`{other}`")).into());
        }
    }
    let Some(values) = call.optional_integers("pad")? else { return Ok(vec![[0, 0]; rank]) };
    let counts: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
    let expected = || InferError::operand("pad", format!("{} counts", 2 * rank), format!("{values:?}"));
    let counts = counts.filter(|counts| counts.len() == 2 * rank).ok_or_else(expected)?;
    Ok(counts.as_chunks::<2>().0.to_vec())
}
