//! The evaluation of `conv` where an output depends on several places of `x`: patches of `x` become the columns of a matrix.

use rayon::prelude::*;

use super::decl::InferError;
use super::window::{Axis, axes};
use crate::evaluate::{Call, EvaluateError, Matrix, Projection, Tensor, along_axis, check_size, row_major};

/// Floats of the matrix of patches that are in memory at a time.
const PATCH_FLOATS: usize = 1 << 22;

/// A convolution of any kind.
///
/// # Shapes
/// `x: [batch, channels, spatial..]`, `weight: [outputs, channels / groups, kernel..]`, `bias: [outputs]`.
pub(super) fn convolution(call: &Call<'_>, x: &Tensor, weight: &Tensor) -> Result<Vec<Tensor>, EvaluateError> {
    let bias = call.optional("bias").map(|_| call.floats("bias")).transpose()?.unwrap_or_default();
    convolution_with(call, x, weight, &bias)
}

/// [`convolution`] with a bias, or none, that is not an operand.
pub(super) fn convolution_with(
    call: &Call<'_>,
    x: &Tensor,
    weight: &Tensor,
    bias: &[f32],
) -> Result<Vec<Tensor>, EvaluateError> {
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
    let axes = axes(call, spatial, kernel, call.string_or("pad_type", "valid")?, false)?;
    let shape: Vec<usize> = [batch, outputs].into_iter().chain(axes.iter().map(|axis| axis.output)).collect();
    let mut output = vec![0.0; check_size(&shape)?];
    let places: usize = axes.iter().map(|axis| axis.output).product();
    let [_, _, inner] = along_axis(weight.shape(), 0);
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
