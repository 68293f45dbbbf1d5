//! Ops that put the elements of one tensor elsewhere, or tell of its shape.

use super::decl::{Domain, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter, normalize_axis};
use super::elementwise::like_x;
use super::evidence::{ANEFORGE, PARAKEET};
use super::shape::{
    CLASSIC, MOVED_X, SMALL_TOO, axis_or, compatible, distinct_axes, known, known_int_or, known_ints, positions,
};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis, check_size, row_major};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const X: Parameter = MOVED_X;

/// Keeps a band around the diagonal.
pub static BAND_PART: OpDecl = OpDecl::new(
    "band_part",
    "Sets all but `lower` diagonals below and `upper` above the main one to 0; -1 keeps all.",
    &[
        Parameter::new("x", CLASSIC),
        Parameter::new("lower", INT32).constant().defaulted(),
        Parameter::new("upper", INT32).constant().defaulted(),
    ],
    infer_band_part,
)
.moves(band_part);
/// Joins axes to two.
pub static FLATTEN2D: OpDecl = OpDecl::new(
    "flatten2d",
    "Joins the axes of `x` before `axis`, and those from there on.",
    &[Parameter::new("x", CLASSIC), Parameter::new("axis", INT32).constant().defaulted()],
    infer_flatten2d,
)
.moves(flatten2d)
.seen(ANEFORGE);
/// Gives a tensor the axes of others.
pub static RESHAPE_LIKE: OpDecl = OpDecl::new(
    "reshape_like",
    "Gives `x` the shape that ranges of axes of `ref_tensors` make together.",
    &[
        X,
        Parameter::new("ref_tensors", Domain::Any).variadic(),
        Parameter::new("begins", INT32).variadic(),
        Parameter::new("ends", INT32).variadic(),
        Parameter::new("end_masks", super::decl::BOOL).variadic(),
    ],
    infer_reshape_like,
)
.since(Opset::Ios16)
.moves(reshape_like);
/// Turns axes around.
pub static REVERSE: OpDecl = OpDecl::new(
    "reverse",
    "Turns `x` around on `axes`, or on all.",
    &[X, Parameter::new("axes", INT32).constant().optional()],
    |ctx| {
        if let Some(axes) = known_ints(ctx, "axes")? {
            distinct_axes("axes", &axes, ctx.tensor("x")?.rank())?;
        }
        like_x(ctx)
    },
)
.moves(reverse)
.seen(ANEFORGE);
/// Turns the beginnings of sequences around.
pub static REVERSE_SEQUENCE: OpDecl = OpDecl::new(
    "reverse_sequence",
    "Turns the first `lengths` elements of `x` around on `seq_axis`, for each index of `batch_axis`.",
    &[
        X,
        positions("lengths"),
        Parameter::new("seq_axis", INT32).constant().defaulted(),
        Parameter::new("batch_axis", INT32).constant().defaulted(),
    ],
    infer_reverse_sequence,
)
.moves(reverse_sequence);
/// The lengths of the axes.
pub static SHAPE: OpDecl =
    OpDecl::new("shape", "The lengths of the axes of `x`.", &[Parameter::new("x", CLASSIC)], |ctx| {
        let rank = ctx.tensor("x")?.rank() as u64;
        Ok(vec![TensorType::fixed(DataType::Int32, &[rank]).into()])
    })
    .moves(shape)
    .seen(PARAKEET);
/// Windows as an axis of their own.
pub static SLIDING_WINDOWS: OpDecl = OpDecl::new(
    "sliding_windows",
    "Puts windows of `size` elements along `axis` on an axis of their own.",
    &[
        Parameter::new("x", NUMBERS).changes(SMALL_TOO),
        Parameter::new("axis", INT32).constant(),
        Parameter::new("size", INT32).constant(),
        Parameter::new("stride", INT32).constant().defaulted(),
    ],
    infer_sliding_windows,
)
.moves(sliding_windows);

fn strides_of(shape: &[usize]) -> Vec<isize> {
    row_major(shape).iter().map(|stride| isize::try_from(*stride).unwrap_or(0)).collect()
}

fn infer_band_part(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    if ctx.tensor("x")?.rank() < 2 {
        return Err(InferError::operand("x", "a tensor of rank 2 or more", ctx.tensor("x")?));
    }
    like_x(ctx)
}

fn band_part(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let [.., rows, columns] = x.shape() else {
        return Err(InferError::operand("x", "a tensor of rank 2 or more", x.ty()).into());
    };
    let bound = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
    let (lower, upper) = (bound(call.int_or("lower", -1)?), bound(call.int_or("upper", -1)?));
    let zero = Tensor::zeros(x.dtype(), &[1])?;
    let sources = [x.clone(), zero];
    let matrices = x.count().checked_div(rows * columns).unwrap_or(0);
    let runs = (0..matrices * rows).flat_map(|line| {
        let row = line % rows;
        let kept = row.saturating_sub(lower).min(*columns)..row.saturating_add(upper).saturating_add(1).min(*columns);
        let start = line * columns;
        let zeros = |count: usize| (0..count).map(|_| (1, 0..1));
        let before = kept.start;
        let after = columns - kept.end.max(kept.start);
        zeros(before).chain([(0, start + kept.start..start + kept.end.max(kept.start))]).chain(zeros(after))
    });
    Ok(vec![Tensor::from_runs(&sources, x.shape(), runs)?])
}

/// # Shapes
/// `[product of the axes before, product of the others]`.
fn infer_flatten2d(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axis = split_axis(known_int_or(ctx, "axis", 1)?, x.rank())?;
    let (before, after) = x.shape.split_at(axis);
    let product = |axes: &[Dimension]| {
        let known: Option<Vec<u64>> = axes.iter().map(|axis| axis.fixed()).collect();
        let Some(known) = known else { return Ok(Dimension::Unknown) };
        let product = known.iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
        product.map(Dimension::Fixed).ok_or_else(|| InferError::operand("x", "sizes that fit 64 bits", x))
    };
    Ok(vec![TensorType { dtype: x.dtype, shape: vec![product(before)?, product(after)?] }.into()])
}

/// Where the axes are split, which may be behind the last.
fn split_axis(axis: i64, rank: usize) -> Result<usize, InferError> {
    if usize::try_from(axis) == Ok(rank) { Ok(rank) } else { normalize_axis("axis", axis, rank) }
}

fn flatten2d(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let axis = call.int_or("axis", 1)?;
    let x = call.take("x")?;
    let (before, after) = x.shape().split_at(split_axis(axis, x.rank())?);
    let shape = [before.iter().product(), after.iter().product()];
    Ok(vec![x.reshaped(&shape)?])
}

fn infer_reshape_like(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, references) = (ctx.tensor("x")?, ctx.tensors("ref_tensors")?);
    let ranks = references.iter().map(|reference| reference.rank()).collect::<Vec<_>>();
    let ints = |parameter: &str| -> Result<Vec<i64>, InferError> {
        let values = ctx.operands(parameter).iter().map(|operand| operand.value.and_then(Value::as_int)).collect();
        Ok(known(ctx, parameter, values)?.unwrap_or_default())
    };
    let masks: Option<Vec<bool>> =
        ctx.operands("end_masks").iter().map(|operand| operand.value.and_then(Value::as_bool)).collect();
    let ranges = ranges(&ranks, &ints("begins")?, &ints("ends")?, &masks.unwrap_or_default())?;
    let axes =
        references.iter().zip(ranges).flat_map(|(reference, range)| reference.shape.get(range).unwrap_or_default());
    let result = TensorType { dtype: x.dtype, shape: axes.copied().take(super::shape::MAX_RANK).collect() };
    if let (Some(own), Some(new)) = (x.element_count(), result.element_count())
        && own != new
    {
        return Err(InferError::operand("ref_tensors", format!("axes of {own} elements"), &result));
    }
    Ok(vec![result.into()])
}

/// The axes of each reference.
fn ranges(
    ranks: &[usize],
    begins: &[i64],
    ends: &[i64],
    masks: &[bool],
) -> Result<Vec<std::ops::Range<usize>>, InferError> {
    if [begins.len(), ends.len(), masks.len()] != [ranks.len(); 3] {
        let message = "`ref_tensors`, `begins`, `ends` and `end_masks` must have as many values";
        return Err(InferError::Mismatch(message.to_owned()));
    }
    let place = |value: i64, rank: usize| {
        let from_end = if value < 0 { value.saturating_add_unsigned(rank as u64) } else { value };
        usize::try_from(from_end).unwrap_or(0).min(rank)
    };
    let pairs = begins.iter().zip(ends.iter().zip(masks));
    Ok(ranks
        .iter()
        .zip(pairs)
        .map(|(rank, (begin, (end, mask)))| {
            let end = if *mask { *rank } else { place(*end, *rank) };
            place(*begin, *rank).min(end)..end
        })
        .collect())
}

fn reshape_like(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let references = call.operands("ref_tensors");
    let ints = |parameter: &str| -> Result<Vec<i64>, EvaluateError> {
        let first = |tensor: &Tensor| Ok(tensor.as_integers()?.first().copied().map_or(0, i64::from));
        call.operands(parameter).iter().map(first).collect()
    };
    let masks: Result<Vec<bool>, EvaluateError> =
        call.operands("end_masks").iter().map(|mask| Ok(mask.as_bools()?.first() == Some(&true))).collect();
    let ranks: Vec<usize> = references.iter().map(Tensor::rank).collect();
    let ranges = ranges(&ranks, &ints("begins")?, &ints("ends")?, &masks?)?;
    let axes =
        references.iter().zip(ranges).flat_map(|(reference, range)| reference.shape().get(range).unwrap_or_default());
    let shape: Vec<usize> = axes.copied().collect();
    Ok(vec![call.take("x")?.reshaped(&shape)?])
}

fn reverse(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axes = super::reduce::axes_or_all(call, x.rank())?;
    let mut strides = strides_of(x.shape());
    let mut start = 0_usize;
    for axis in axes {
        let (Some(stride), Some(length)) = (strides.get_mut(axis), x.shape().get(axis)) else { continue };
        start += stride.unsigned_abs() * length.saturating_sub(1);
        *stride = -*stride;
    }
    Ok(vec![x.strided(start, x.shape(), &strides)?])
}

fn infer_reverse_sequence(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, lengths) = (ctx.tensor("x")?, ctx.tensor("lengths")?);
    let sequence = axis_or(ctx, "seq_axis", 0, x.rank())?;
    let batch = axis_or(ctx, "batch_axis", 0, x.rank())?;
    if sequence == batch {
        return Err(InferError::operand("batch_axis", "another axis than `seq_axis`", batch));
    }
    let expected = x.shape.get(batch).copied().unwrap_or(Dimension::Unknown);
    if !matches!(lengths.shape.as_slice(), [length] if compatible(*length, expected)) {
        return Err(InferError::operand("lengths", format!("a vector of {expected} elements"), lengths));
    }
    like_x(ctx)
}

fn reverse_sequence(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let sequence = call.axis_or("seq_axis", 0, x.rank())?;
    let batch = call.axis_or("batch_axis", 0, x.rank())?;
    let lengths = call.integers("lengths")?;
    let [_, count, inner] = along_axis(x.shape(), sequence);
    let [_, batches, batch_inner] = along_axis(x.shape(), batch);
    let mut turned = Vec::with_capacity(lengths.len());
    for length in lengths.iter() {
        let fits = usize::try_from(*length).ok().filter(|length| *length <= count);
        turned.push(fits.ok_or(EvaluateError::Index { index: i64::from(*length), length: count })?);
    }
    let runs = (0..x.count()).map(|place| {
        let index = place.checked_div(inner).unwrap_or(0) % count.max(1);
        let of = place.checked_div(batch_inner).unwrap_or(0) % batches.max(1);
        let length = turned.get(of).copied().unwrap_or(0);
        let source = if index < length { place - index * inner + (length - 1 - index) * inner } else { place };
        (0, source..source + 1)
    });
    Ok(vec![Tensor::from_runs(std::slice::from_ref(x), x.shape(), runs)?])
}

fn shape(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let lengths = super::reduce::index_elements(DataType::Int32, x.shape())?;
    Ok(vec![Tensor::integers(DataType::Int32, &[x.rank()], lengths)?])
}

/// # Shapes
/// `x: [before.., length, after..]`; the result is `[before.., (length - size) / stride + 1, size, after..]`.
fn infer_sliding_windows(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axis = axis_or(ctx, "axis", 0, x.rank())?;
    let positive = |parameter: &str, default| {
        let value = known_int_or(ctx, parameter, default)?;
        let length = u64::try_from(value).ok().filter(|value| *value > 0);
        length.ok_or_else(|| InferError::operand(parameter, "a positive integer", value))
    };
    let (size, stride) = (positive("size", 0)?, positive("stride", 1)?);
    let mut shape = x.shape.clone();
    if let Some(length) = shape.get_mut(axis) {
        *length = match length.fixed() {
            None => Dimension::Unknown,
            Some(fixed) => {
                let spare = fixed.checked_sub(size);
                let spare = spare.ok_or_else(|| InferError::operand("size", format!("at most {fixed}"), size))?;
                Dimension::Fixed(spare / stride + 1)
            }
        };
    }
    shape.insert(axis + 1, Dimension::Fixed(size));
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn sliding_windows(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", 0, x.rank())?;
    let positive = |parameter: &str, default| -> Result<usize, EvaluateError> {
        let value = call.int_or(parameter, default)?;
        let length = usize::try_from(value).ok().filter(|value| *value > 0);
        Ok(length.ok_or_else(|| InferError::operand(parameter, "a positive integer", value))?)
    };
    let (size, stride) = (positive("size", 0)?, positive("stride", 1)?);
    let mut shape = x.shape().to_vec();
    let mut strides = strides_of(&shape);
    let (Some(length), Some(step)) = (shape.get(axis).copied(), strides.get(axis).copied()) else {
        return Err(InferError::operand("axis", "an axis of `x`", axis).into());
    };
    let spare =
        length.checked_sub(size).ok_or_else(|| InferError::operand("size", format!("at most {length}"), size))?;
    shape[axis] = spare / stride + 1;
    shape.insert(axis + 1, size);
    strides[axis] = step.saturating_mul(isize::try_from(stride).unwrap_or(isize::MAX));
    strides.insert(axis + 1, step);
    check_size(&shape)?;
    Ok(vec![x.strided(0, &shape, &strides)?])
}
