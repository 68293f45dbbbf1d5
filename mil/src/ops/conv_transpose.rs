//! `conv_transpose`: the transposed convolution, which spreads every element of `x` over a window of the result.

use rayon::prelude::*;

use super::decl::{Change, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::WATCH;
use super::shape::{compatible, known_int_or, known_ints, known_string_or};
use super::window::{pads, positive};
use crate::evaluate::{Call, EvaluateError, Matrix, Tensor, check_made, multiply, row_major};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

const WIDER: &[Change] = &[Change::Group(Opset::Ios17, 'U'), Change::Variable(Opset::Ios17)];

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "conv_transpose",
    "Spreads `x` by `weight` over its spatial axes and adds `bias`.",
    &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("weight", FLOATS).group('T').constant().changes(WIDER),
        Parameter::new("bias", FLOATS).group('T').constant().optional().changes(WIDER),
        Parameter::new("pad", INT32).constant().defaulted(),
        Parameter::new("output_shape", INT32).constant().optional(),
        Parameter::new("pad_type", STRING).constant().defaulted(),
        Parameter::new("strides", INT32).constant().defaulted(),
        Parameter::new("dilations", INT32).constant().defaulted(),
        Parameter::new("groups", INT32).constant().defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(WATCH);

/// # Shapes
/// `x: [batch, in_channels, spatial..]`, `weight: [in_channels, out_channels / groups, kernel..]`, `bias: [out_channels]`;
/// the result is `[batch, out_channels, spatial..]`, or `output_shape` where that is given.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, weight) = (ctx.tensor("x")?, ctx.tensor("weight")?);
    if !(3..=5).contains(&x.rank()) {
        return Err(InferError::operand("x", "a tensor of rank 3 to 5", x));
    }
    if weight.rank() != x.rank() || !compatible(weight.shape[0], x.shape[1]) {
        return Err(InferError::operand("weight", format!("a weight for the channels and axes of {x}"), weight));
    }
    let groups = known_int_or(ctx, "groups", 1)?;
    let positive = u64::try_from(groups).ok().filter(|groups| *groups > 0);
    let groups = positive.ok_or_else(|| InferError::operand("groups", "a positive integer", groups))?;
    let channels = match weight.shape[1].fixed() {
        Some(per_group) => per_group.checked_mul(groups).map(Dimension::Fixed),
        None => Some(Dimension::Unknown),
    };
    let channels = channels.ok_or_else(|| InferError::operand("weight", "sizes that fit 64 bits", weight))?;
    if ctx.optional("bias").is_some() {
        let bias = ctx.tensor("bias")?;
        if !matches!(bias.shape.as_slice(), [length] if compatible(*length, channels)) {
            return Err(InferError::operand("bias", format!("a vector of {channels} elements"), bias));
        }
    }
    let mut shape = vec![x.shape[0], channels];
    if let Some(given) = known_ints(ctx, "output_shape")? {
        let given: Option<Vec<u64>> = given.into_iter().map(|size| u64::try_from(size).ok()).collect();
        let fits = |given: &Vec<u64>| {
            given.len() == x.rank() && shape.iter().zip(given).all(|(own, given)| compatible(*own, (*given).into()))
        };
        let expected =
            || InferError::operand("output_shape", "a shape with the batch and channels of the result", "another");
        let given = given.filter(fits).ok_or_else(expected)?;
        shape.extend(given.iter().skip(2).map(|size| Dimension::Fixed(*size)));
    } else {
        for axis in 0..x.rank() - 2 {
            shape.push(spatial_size(ctx, axis, x.shape[axis + 2], weight.shape[axis + 2])?);
        }
    }
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn spatial_size(ctx: &OpContext<'_>, axis: usize, size: Dimension, kernel: Dimension) -> Result<Dimension, InferError> {
    let at = |parameter: &str, index: usize, default: i64| -> Result<i128, InferError> {
        let values = known_ints(ctx, parameter)?;
        Ok(i128::from(values.and_then(|values| values.get(index).copied()).unwrap_or(default)))
    };
    let (Some(size), Some(kernel)) = (size.fixed(), kernel.fixed()) else { return Ok(Dimension::Unknown) };
    let (size, kernel) = (i128::from(size), i128::from(kernel));
    let stride = at("strides", axis, 1)?;
    let window = (kernel - 1) * at("dilations", axis, 1)? + 1;
    let length = match known_string_or(ctx, "pad_type", "valid")? {
        "same" => stride * size,
        "valid" => stride * (size - 1) + window,
        "custom" => stride * (size - 1) + window - at("pad", 2 * axis, 0)? - at("pad", 2 * axis + 1, 0)?,
        other => {
            return Err(InferError::operand("pad_type", "`valid`, `same` or `custom`", format!("`{other}`")));
        }
    };
    let length = u64::try_from(length).ok().filter(|length| *length > 0);
    length
        .map(Dimension::Fixed)
        .ok_or_else(|| InferError::Mismatch(format!("nothing is left of spatial axis {axis} of {size}")))
}

/// One spatial axis.
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Places that are cut off before the first of the result.
    before: usize,
    output: usize,
}

impl Axis {
    /// Where in the result the element `kernel` of the window of `place` goes.
    fn target(&self, place: usize, kernel: usize) -> Option<usize> {
        let target = (place * self.stride).saturating_add(kernel * self.dilation).checked_sub(self.before)?;
        (target < self.output).then_some(target)
    }
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    let misfit = || InferError::operand("weight", format!("a weight for {}", x.ty()), weight.ty());
    let ([batch, channels, spatial @ ..], [inputs, per_group, kernel @ ..]) = (x.shape(), weight.shape()) else {
        return Err(misfit().into());
    };
    let groups = usize::try_from(call.int_or("groups", 1)?).unwrap_or(0);
    if channels != inputs || spatial.len() != kernel.len() || channels.checked_rem(groups) != Some(0) {
        return Err(misfit().into());
    }
    let axes = axes(call, spatial, kernel)?;
    let outputs = per_group.checked_mul(groups).ok_or_else(misfit)?;
    let shape: Vec<usize> = [*batch, outputs].into_iter().chain(axes.iter().map(|axis| axis.output)).collect();
    let mut output = vec![0.0; check_made(&shape)?];
    let places: usize = spatial.iter().product();
    let result_places: usize = axes.iter().map(|axis| axis.output).product();
    let rows = per_group * kernel.iter().product::<usize>();
    let per_input = channels / groups;
    let targets = targets(&axes, places, check_made(kernel)?)?;
    let (values, weights) = (call.floats("x")?, call.floats("weight")?);
    let mut columns = vec![0.0; check_made(&[rows, places])?];
    for index in 0..batch * groups {
        let group = index % groups;
        let x = values.get(index * per_input * places..).unwrap_or_default();
        let weight = weights.get(group * per_input * rows..).unwrap_or_default();
        let weight = Matrix::row_major(weight, [per_input, rows]).transposed();
        multiply(weight, Matrix::row_major(x, [per_input, places]), &mut columns, call.numerics())?;
        let count = per_group * result_places;
        let output = output.get_mut(index * count..(index + 1) * count).unwrap_or_default();
        let window = targets.len().max(1);
        output.par_chunks_mut(result_places.max(1)).zip(columns.par_chunks(window)).for_each(|(output, columns)| {
            for (value, target) in columns.iter().zip(&targets) {
                if let Some(output) = target.and_then(|target| output.get_mut(target)) {
                    *output += value;
                }
            }
        });
    }
    if call.optional("bias").is_some() {
        let bias = call.floats("bias")?;
        for (row, values) in output.chunks_mut(result_places.max(1)).enumerate() {
            let bias = bias.get(row % outputs.max(1)).copied().unwrap_or(0.0);
            for value in values {
                *value += bias;
            }
        }
    }
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

/// For each element of the window and each place of `x`, where in the result it goes.
fn targets(axes: &[Axis], places: usize, kernel: usize) -> Result<Vec<Option<usize>>, EvaluateError> {
    check_made(&[places, kernel])?;
    let strides = row_major(&axes.iter().map(|axis| axis.output).collect::<Vec<_>>());
    let target = |(element, place): (usize, usize)| {
        let (mut element, mut place, mut target) = (element, place, Some(0));
        for (axis, stride) in axes.iter().zip(&strides).rev() {
            let own = axis.target(place % axis.size, element % axis.kernel);
            target = target.zip(own).map(|(target, own)| target + own * stride);
            place /= axis.size;
            element /= axis.kernel;
        }
        target
    };
    Ok((0..kernel).flat_map(|element| (0..places).map(move |place| (element, place))).map(target).collect())
}

fn axes(call: &Call<'_>, spatial: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, EvaluateError> {
    let strides = positive(call, "strides", spatial.len())?;
    let dilations = positive(call, "dilations", spatial.len())?;
    let pad_type = call.string_or("pad_type", "valid")?;
    let pads = pads(call, pad_type, spatial.len())?;
    let given = call.optional_integers("output_shape")?;
    let mut axes = Vec::with_capacity(spatial.len());
    for (index, (size, kernel)) in spatial.iter().zip(kernel).enumerate() {
        let [before, after] = pads.get(index).copied().unwrap_or_default();
        let (stride, dilation) = (strides[index], dilations[index]);
        let misfit = || InferError::Mismatch(format!("nothing is left of spatial axis {index} of {size}"));
        let window = kernel.checked_sub(1).and_then(|steps| steps.checked_mul(dilation)?.checked_add(1));
        let full = size.checked_sub(1).and_then(|steps| steps.checked_mul(stride)?.checked_add(window?));
        let full = full.ok_or_else(misfit)?;
        let given = given.as_ref().and_then(|shape| shape.get(index + 2)).and_then(|size| usize::try_from(*size).ok());
        let same = pad_type == "same";
        let own = if same { size.checked_mul(stride) } else { full.checked_sub(before.saturating_add(after)) };
        let output = given.or(own).ok_or_else(misfit)?;
        // What is cut off of the full result goes by halves, the odd place behind.
        let before = if same { full.saturating_sub(output) / 2 } else { before };
        axes.push(Axis { size: *size, kernel: *kernel, stride, dilation, before, output });
    }
    Ok(axes)
}
