//! Tensors that are made of little: one value, a range of numbers, positions of ones.

use super::decl::{INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::evidence::{ANEFORGE, KOKORO, PARAKEET};
use super::shape::{CLASSIC, MAX_RANK, known_int_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, check_made};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const VALUE: Parameter = Parameter::new("value", CLASSIC).constant().defaulted();

/// A shape full of one value.
pub static FILL: OpDecl =
    OpDecl::new("fill", "A tensor of `shape`, full of `value`.", &[Parameter::new("shape", INT32), VALUE], |ctx| {
        Ok(vec![
            TensorType { dtype: value_type(ctx, "value", DataType::Float32)?, shape: lengths(ctx, "shape")? }.into(),
        ])
    })
    .moves(|call| {
        let shape: Vec<usize> = sizes(call, "shape")?;
        Ok(vec![full_of(call, "value", &shape)?])
    })
    .seen(ANEFORGE);
/// The shape of another tensor full of one value.
pub static FILL_LIKE: OpDecl = OpDecl::new(
    "fill_like",
    "A tensor of the shape of `ref_tensor`, full of `value`.",
    &[Parameter::new("ref_tensor", CLASSIC), VALUE],
    |ctx| {
        let shape = ctx.tensor("ref_tensor")?.shape.clone();
        Ok(vec![TensorType { dtype: value_type(ctx, "value", DataType::Float32)?, shape }.into()])
    },
)
.since(Opset::Ios16)
.moves(|call| {
    let shape = call.tensor("ref_tensor")?.shape().to_vec();
    Ok(vec![full_of(call, "value", &shape)?])
})
.seen(KOKORO);
/// Vectors with a one each.
pub static ONE_HOT: OpDecl = OpDecl::new(
    "one_hot",
    "For each index, a vector that is `on_value` there and `off_value` elsewhere.",
    &[
        Parameter::new("indices", INT32),
        Parameter::new("one_hot_vector_size", INT32),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("on_value", CLASSIC).group('T').constant().defaulted(),
        Parameter::new("off_value", CLASSIC).group('T').constant().defaulted(),
    ],
    infer_one_hot,
)
.moves(one_hot);
/// Numbers with equal steps.
pub static RANGE_1D: OpDecl = OpDecl::new(
    "range_1d",
    "The numbers from `start` to before `end`, by `step`.",
    &[
        Parameter::new("end", NUMBERS).group('T'),
        Parameter::new("start", NUMBERS).group('T'),
        Parameter::new("step", NUMBERS).group('T'),
    ],
    infer_range,
)
.computes(range)
.seen(PARAKEET);

fn value_type(ctx: &OpContext<'_>, parameter: &str, default: DataType) -> Result<DataType, InferError> {
    if ctx.optional(parameter).is_none() { Ok(default) } else { Ok(ctx.tensor(parameter)?.dtype) }
}

/// The axes that `parameter` tells, as far as they are known.
pub(super) fn lengths(ctx: &OpContext<'_>, parameter: &str) -> Result<Vec<Dimension>, InferError> {
    let vector = ctx.tensor(parameter)?;
    let count = match vector.shape.as_slice() {
        [Dimension::Fixed(count)] => usize::try_from(*count).ok().filter(|count| *count <= MAX_RANK),
        _ => None,
    };
    let count =
        count.ok_or_else(|| InferError::operand(parameter, format!("a vector of up to {MAX_RANK} lengths"), vector))?;
    let Some(values) = ctx.ints(parameter)? else { return Ok(vec![Dimension::Unknown; count]) };
    let length = |value: &i64| {
        let length = u64::try_from(*value).map(Dimension::Fixed);
        length.map_err(|_| InferError::operand(parameter, "lengths", value))
    };
    values.iter().take(MAX_RANK).map(length).collect()
}

/// The axes that `parameter` tells when the program runs.
pub(super) fn sizes(call: &Call<'_>, parameter: &str) -> Result<Vec<usize>, EvaluateError> {
    let size =
        |value: &i32| usize::try_from(*value).map_err(|_| InferError::operand(parameter, "lengths", value).into());
    call.integers(parameter)?.iter().map(size).collect()
}

fn full_of(call: &Call<'_>, parameter: &str, shape: &[usize]) -> Result<Tensor, EvaluateError> {
    let Some(value) = call.optional(parameter) else { return Ok(Tensor::zeros(DataType::Float32, shape)?) };
    check_made(shape)?;
    let one = value.clone().reshaped(&vec![1; shape.len()])?;
    Ok(one.strided(0, shape, &vec![0; shape.len()])?)
}

/// # Shapes
/// `indices: [before.., after..]`; the result is `[before.., one_hot_vector_size, after..]`.
fn infer_one_hot(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let indices = ctx.tensor("indices")?;
    let place = place(known_int_or(ctx, "axis", -1)?, indices.rank())?;
    let size = match ctx.value("one_hot_vector_size", "a constant integer", Value::as_int)? {
        None => {
            ctx.tensor("one_hot_vector_size")?;
            Dimension::Unknown
        }
        Some(size) => u64::try_from(size)
            .map(Dimension::Fixed)
            .map_err(|_| InferError::operand("one_hot_vector_size", "a length", size))?,
    };
    let dtype = value_type(ctx, "on_value", value_type(ctx, "off_value", DataType::Int32)?)?;
    let mut shape = indices.shape.clone();
    shape.insert(place, size);
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// Where the new axis stands among `rank` axes.
fn place(axis: i64, rank: usize) -> Result<usize, InferError> {
    super::decl::normalize_axis("axis", axis, rank + 1)
}

fn one_hot(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let indices = call.tensor("indices")?;
    let place = place(call.int_or("axis", -1)?, indices.rank())?;
    let size = call.int_or("one_hot_vector_size", 0)?;
    let size = usize::try_from(size).map_err(|_| InferError::operand("one_hot_vector_size", "a length", size))?;
    let mut shape = indices.shape().to_vec();
    shape.insert(place, size);
    let count = check_made(&shape)?;
    let one = |value: i32| Tensor::integers(DataType::Int32, &[1], vec![value]);
    let (on, off) = match (call.optional("on_value"), call.optional("off_value")) {
        (Some(on), Some(off)) => (on.clone(), off.clone()),
        (None, None) => (one(1)?, one(0)?),
        (Some(on), None) => (on.clone(), Tensor::zeros(on.dtype(), &[1])?),
        (None, Some(off)) if off.dtype() == DataType::Int32 => (one(1)?, off.clone()),
        (None, Some(off)) => {
            return Err(InferError::operand("off_value", "an int32, as of the default `on_value`", off.ty()).into());
        }
    };
    let values = call.integers("indices")?;
    let inner: usize = shape.iter().skip(place + 1).product();
    let lane = (size * inner).max(1);
    let runs = (0..count).map(|element| {
        let index = element / lane * inner + element % inner.max(1);
        let position = element % lane / inner.max(1);
        let wanted = values.get(index).copied().and_then(|index| usize::try_from(index).ok());
        (usize::from(wanted != Some(position)), 0..1)
    });
    Ok(vec![Tensor::from_runs(&[on, off], &shape, runs)?])
}

fn infer_range(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let dtype = ctx.tensor("start")?.dtype;
    for parameter in ["start", "end", "step"] {
        let bound = ctx.tensor(parameter)?;
        if bound.dtype != dtype || bound.element_count() != Some(1) {
            return Err(InferError::operand(parameter, format!("one number of type {dtype}"), bound));
        }
    }
    let number = |parameter| ctx.value(parameter, "a constant number", Value::as_number);
    let length = match (number("start")?, number("end")?, number("step")?) {
        (Some(start), Some(end), Some(step)) => {
            let count = steps(start, end, step);
            Dimension::Fixed(count.ok_or_else(|| InferError::operand("step", "a step that leads to `end`", step))?)
        }
        _ => Dimension::Unknown,
    };
    Ok(vec![TensorType { dtype, shape: vec![length] }.into()])
}

/// How many numbers there are; `None` where they do not end.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the condition")]
fn steps(start: f64, end: f64, step: f64) -> Option<u64> {
    let count = ((end - start) / step).ceil();
    if step == 0.0 || count.is_nan() || count >= 1e12 {
        return None;
    }
    Some(if count > 0.0 { count as u64 } else { 0 })
}

fn range(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let bound = |parameter: &str| -> Result<(f64, Tensor), EvaluateError> {
        let tensor = call.tensor(parameter)?.clone();
        let number = match tensor.elements() {
            Elements::Integers(values) => values.first().copied().map(f64::from),
            _ => tensor.as_floats()?.first().copied().map(f64::from),
        };
        Ok((number.ok_or_else(|| InferError::operand(parameter, "one number", tensor.ty()))?, tensor))
    };
    let ((start, first), (end, _), (step, _)) = (bound("start")?, bound("end")?, bound("step")?);
    let count = steps(start, end, step).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(|| InferError::operand("step", "a step that leads to `end`", step))?;
    check_made(&[count])?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let numbers = (0..count).map(|index| start + index as f64 * step);
    #[expect(clippy::cast_possible_truncation, reason = "between numbers of the type")]
    let range = if first.dtype().is_float() {
        Tensor::floats(first.dtype(), &[count], numbers.map(|number| number as f32).collect())?
    } else {
        Tensor::integers(first.dtype(), &[count], numbers.map(|number| number as i32).collect())?
    };
    Ok(vec![range])
}
