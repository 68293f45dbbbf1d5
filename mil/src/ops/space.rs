//! Elements that move between the spatial axes and the channels or the batch.

use super::decl::{Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEFORGE;
use super::shape::{known_int_or, known_ints};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, check_made, row_major};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

const X: Parameter = Parameter::new("x", FLOATS);
const FACTOR: Domain = Domain::OneOf(&[DataType::UInt32]);
const BLOCK_SHAPE: Parameter = Parameter::new("block_shape", INT32).constant();

/// From the batch to the spatial axes.
pub static BATCH_TO_SPACE: OpDecl = OpDecl::new(
    "batch_to_space",
    "Moves blocks of images to the spatial axes, and cuts off `crops`.",
    &[X, BLOCK_SHAPE, Parameter::new("crops", INT32).constant()],
    infer_batch_to_space,
)
.moves(batch_to_space)
.seen(ANEFORGE);
/// From channels to the spatial axes, the block first.
pub static DEPTH_TO_SPACE: OpDecl = OpDecl::new(
    "depth_to_space",
    "Moves channels to the spatial axes; neighbouring channels stay neighbours.",
    &[X, Parameter::new("block_size", INT32).constant()],
    |ctx| infer_to_space(ctx, "block_size"),
)
.moves(|call| to_space(call, "block_size", true))
.seen(ANEFORGE);
/// From channels to the spatial axes, the channel first.
pub static PIXEL_SHUFFLE: OpDecl = OpDecl::new(
    "pixel_shuffle",
    "Moves channels to the spatial axes; neighbouring channels become neighbouring pixels.",
    &[X, Parameter::new("upscale_factor", INT32).constant()],
    |ctx| infer_to_space(ctx, "upscale_factor"),
)
.moves(|call| to_space(call, "upscale_factor", false))
.seen(ANEFORGE);
/// The reverse of [`PIXEL_SHUFFLE`].
pub static PIXEL_UNSHUFFLE: OpDecl = OpDecl::new(
    "pixel_unshuffle",
    "Moves neighbouring pixels to neighbouring channels.",
    &[X, Parameter::new("downscale_factor", FACTOR).constant()],
    |ctx| infer_to_depth(ctx, "downscale_factor"),
)
.since(Opset::Ios16)
.moves(|call| to_depth(call, "downscale_factor", false))
.seen(ANEFORGE);
/// From the spatial axes to the batch.
pub static SPACE_TO_BATCH: OpDecl = OpDecl::new(
    "space_to_batch",
    "Adds `paddings` of zeros, and moves blocks of the spatial axes to the batch.",
    &[X, BLOCK_SHAPE, Parameter::new("paddings", INT32).constant()],
    infer_space_to_batch,
)
.moves(space_to_batch)
.seen(ANEFORGE);
/// The reverse of [`DEPTH_TO_SPACE`].
pub static SPACE_TO_DEPTH: OpDecl = OpDecl::new(
    "space_to_depth",
    "Moves neighbouring pixels to channels; neighbouring channels stay neighbours.",
    &[X, Parameter::new("block_size", INT32).constant()],
    |ctx| infer_to_depth(ctx, "block_size"),
)
.moves(|call| to_depth(call, "block_size", true))
.seen(ANEFORGE);

fn image(ctx: &OpContext<'_>) -> Result<(DataType, [Dimension; 4]), InferError> {
    let x = ctx.tensor("x")?;
    let shape = <[Dimension; 4]>::try_from(x.shape.as_slice());
    Ok((x.dtype, shape.map_err(|_| InferError::operand("x", "a tensor of rank 4", x))?))
}

fn factor(ctx: &OpContext<'_>, parameter: &str) -> Result<u64, InferError> {
    let value = known_int_or(ctx, parameter, 0)?;
    let factor = u64::try_from(value).ok().filter(|factor| (1..1 << 16).contains(factor));
    factor.ok_or_else(|| InferError::operand(parameter, "a positive integer", value))
}

fn times(length: Dimension, factor: u64) -> Result<Dimension, InferError> {
    let Some(fixed) = length.fixed() else { return Ok(Dimension::Unknown) };
    let product = fixed.checked_mul(factor).map(Dimension::Fixed);
    product.ok_or_else(|| InferError::Mismatch(format!("{fixed} times {factor} does not fit 64 bits")))
}

fn divided(parameter: &str, length: Dimension, factor: u64) -> Result<Dimension, InferError> {
    match length.fixed() {
        None => Ok(Dimension::Unknown),
        Some(fixed) if fixed.is_multiple_of(factor) => Ok(Dimension::Fixed(fixed / factor)),
        Some(fixed) => Err(InferError::operand(parameter, format!("a divisor of {fixed}"), factor)),
    }
}

/// # Shapes
/// `x: [batch, channels * factor^2, height, width]`; the result is `[batch, channels, height * factor, width * factor]`.
fn infer_to_space(ctx: &OpContext<'_>, parameter: &str) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, height, width]) = image(ctx)?;
    let factor = factor(ctx, parameter)?;
    let channels = divided(parameter, channels, factor * factor)?;
    let shape = vec![batch, channels, times(height, factor)?, times(width, factor)?];
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// # Shapes
/// The reverse of [`infer_to_space`].
fn infer_to_depth(ctx: &OpContext<'_>, parameter: &str) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, height, width]) = image(ctx)?;
    let factor = factor(ctx, parameter)?;
    let (height, width) = (divided(parameter, height, factor)?, divided(parameter, width, factor)?);
    let shape = vec![batch, times(channels, factor * factor)?, height, width];
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// The block of each spatial axis, and what is cut off or added before and behind.
fn blocks(ctx: &OpContext<'_>, borders: &str) -> Result<[(u64, [u64; 2]); 2], InferError> {
    let block = known_ints(ctx, "block_shape")?.unwrap_or_default();
    let border = known_ints(ctx, borders)?.unwrap_or_default();
    pairs(&block, &border).ok_or_else(|| {
        InferError::operand("block_shape", format!("two positive lengths, with four counts in `{borders}`"), "others")
    })
}

fn pairs(block: &[i64], border: &[i64]) -> Option<[(u64, [u64; 2]); 2]> {
    let (&[rows, columns], &[top, bottom, left, right]) = (block, border) else { return None };
    let length = |value: i64| u64::try_from(value).ok().filter(|value| (1..1 << 16).contains(value));
    let count = |value: i64| u64::try_from(value).ok().filter(|value| *value < 1 << 32);
    Some([(length(rows)?, [count(top)?, count(bottom)?]), (length(columns)?, [count(left)?, count(right)?])])
}

/// # Shapes
/// `x: [batch * rows * columns, channels, height, width]`, `block_shape: [rows, columns]`, `crops: [2, 2]`; the result is
/// `[batch, channels, height * rows - crops, width * columns - crops]`.
fn infer_batch_to_space(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, height, width]) = image(ctx)?;
    let blocks = blocks(ctx, "crops")?;
    let mut shape = vec![divided("block_shape", batch, blocks[0].0 * blocks[1].0)?, channels];
    for (length, (block, [before, after])) in [height, width].into_iter().zip(blocks) {
        shape.push(match times(length, block)?.fixed() {
            None => Dimension::Unknown,
            Some(full) => {
                let left = full.checked_sub(before + after).filter(|left| *left > 0).map(Dimension::Fixed);
                left.ok_or_else(|| InferError::operand("crops", format!("less than {full}"), before + after))?
            }
        });
    }
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// # Shapes
/// The reverse of [`infer_batch_to_space`], with `paddings` for `crops`.
fn infer_space_to_batch(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, height, width]) = image(ctx)?;
    let blocks = blocks(ctx, "paddings")?;
    let mut shape = vec![times(batch, blocks[0].0 * blocks[1].0)?, channels];
    for (length, (block, [before, after])) in [height, width].into_iter().zip(blocks) {
        let padded = match length.fixed() {
            None => Dimension::Unknown,
            Some(own) => own
                .checked_add(before + after)
                .map(Dimension::Fixed)
                .ok_or_else(|| InferError::operand("paddings", "counts that fit 64 bits", before + after))?,
        };
        shape.push(divided("block_shape", padded, block)?);
    }
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// `x` with its axes split into `parts`, put into another order, and joined to `shape`.
pub(super) fn rearranged(
    x: &Tensor,
    parts: &[usize],
    order: &[usize],
    shape: &[usize],
) -> Result<Tensor, EvaluateError> {
    let strides = row_major(parts);
    let stride = |axis: &usize| strides.get(*axis).and_then(|stride| isize::try_from(*stride).ok()).unwrap_or(0);
    let sizes: Vec<usize> = order.iter().filter_map(|axis| parts.get(*axis).copied()).collect();
    let moved = x.clone().reshaped(parts)?.strided(0, &sizes, &order.iter().map(stride).collect::<Vec<_>>())?;
    Ok(moved.reshaped(shape)?)
}

/// The lengths of an image that is running, and the factor.
fn running(call: &Call<'_>, parameter: &str) -> Result<([usize; 4], usize), EvaluateError> {
    let x = call.tensor("x")?;
    let shape = <[usize; 4]>::try_from(x.shape());
    let shape = shape.map_err(|_| InferError::operand("x", "a tensor of rank 4", x.ty()))?;
    let value = call.int_or(parameter, 0)?;
    let factor = usize::try_from(value).ok().filter(|factor| (1..1 << 16).contains(factor));
    Ok((shape, factor.ok_or_else(|| InferError::operand(parameter, "a positive integer", value))?))
}

fn to_space(call: &mut Call<'_>, parameter: &str, block_first: bool) -> Result<Vec<Tensor>, EvaluateError> {
    let ([batch, all, height, width], factor) = running(call, parameter)?;
    let channels = all / (factor * factor);
    let shape = [batch, channels, height * factor, width * factor];
    let x = call.tensor("x")?;
    let moved = if block_first {
        rearranged(x, &[batch, factor, factor, channels, height, width], &[0, 3, 4, 1, 5, 2], &shape)
    } else {
        rearranged(x, &[batch, channels, factor, factor, height, width], &[0, 1, 4, 2, 5, 3], &shape)
    };
    Ok(vec![moved?])
}

fn to_depth(call: &mut Call<'_>, parameter: &str, block_first: bool) -> Result<Vec<Tensor>, EvaluateError> {
    let ([batch, channels, height, width], factor) = running(call, parameter)?;
    let (rows, columns) = (height / factor, width / factor);
    let shape = [batch, channels * factor * factor, rows, columns];
    let order = if block_first { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
    Ok(vec![rearranged(call.tensor("x")?, &[batch, channels, rows, factor, columns, factor], &order, &shape)?])
}

/// The block of each spatial axis of a running program, and what is cut off or added before and behind.
type RunningBlocks = [(usize, [usize; 2]); 2];

fn running_blocks(call: &Call<'_>, borders: &str) -> Result<([usize; 4], RunningBlocks), EvaluateError> {
    let x = call.tensor("x")?;
    let shape = <[usize; 4]>::try_from(x.shape());
    let shape = shape.map_err(|_| InferError::operand("x", "a tensor of rank 4", x.ty()))?;
    let wide = |parameter: &str| -> Result<Vec<i64>, EvaluateError> {
        Ok(call.integers(parameter)?.iter().map(|value| i64::from(*value)).collect())
    };
    let pairs = pairs(&wide("block_shape")?, &wide(borders)?);
    let pairs = pairs.ok_or_else(|| InferError::operand("block_shape", "two positive lengths", "others"))?;
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Ok((shape, pairs.map(|(block, [before, after])| (size(block), [size(before), size(after)]))))
}

fn batch_to_space(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let ([all, channels, height, width], [(rows, [top, bottom]), (columns, [left, right])]) =
        running_blocks(call, "crops")?;
    let batch = all / (rows * columns);
    let full = [batch, channels, height * rows, width * columns];
    let parts = [rows, columns, batch, channels, height, width];
    let moved = rearranged(call.tensor("x")?, &parts, &[2, 3, 4, 0, 5, 1], &full)?;
    let left_of = |length: usize, cut: usize| {
        length.checked_sub(cut).ok_or_else(|| InferError::operand("crops", format!("less than {length}"), cut))
    };
    let shape = [batch, channels, left_of(full[2], top + bottom)?, left_of(full[3], left + right)?];
    let strides: Vec<isize> = row_major(&full).iter().map(|stride| isize::try_from(*stride).unwrap_or(0)).collect();
    Ok(vec![moved.strided(top * full[3] + left, &shape, &strides)?])
}

fn space_to_batch(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let ([batch, channels, height, width], [(rows, [top, bottom]), (columns, [left, right])]) =
        running_blocks(call, "paddings")?;
    let x = call.tensor("x")?;
    let full = [batch, channels, height + top + bottom, width + left + right];
    check_made(&full)?;
    let mut padded = Tensor::zeros(x.dtype(), &full)?;
    let strides: Vec<isize> = row_major(&full).iter().map(|stride| isize::try_from(*stride).unwrap_or(0)).collect();
    padded.write_strided(top * full[3] + left, &strides, x)?;
    let (high, wide) = (full[2] / rows, full[3] / columns);
    let shape = [batch * rows * columns, channels, high, wide];
    let parts = [batch, channels, high, rows, wide, columns];
    Ok(vec![rearranged(&padded, &parts, &[3, 5, 0, 1, 2, 4], &shape)?])
}
