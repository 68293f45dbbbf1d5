//! What the ops that reduce or normalize over axes share: parameters, type inference and evaluation.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::decl::{BOOL, Change, INT32, InferError, NUMBERS, OpContext, Parameter, STRING};
use super::shape::{axis_or, distinct_axes, known_bool_or, known_ints, known_string_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, row_major, strided_copy};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// Parameters of an op that reduces over several axes.
pub const OVER_AXES: &[Parameter] = &[
    Parameter::new("x", NUMBERS),
    Parameter::new("axes", INT32).constant().optional(),
    Parameter::new("keep_dims", BOOL).constant().defaulted(),
];

/// Parameters of an op that finds an index along one axis.
pub const INDEX_ALONG_AXIS: &[Parameter] = &[
    Parameter::new("x", NUMBERS),
    Parameter::new("axis", INT32).constant().defaulted(),
    Parameter::new("keep_dims", BOOL).constant().defaulted(),
    Parameter::new("output_dtype", STRING).constant().defaulted().changes(&[Change::Since(Opset::Ios17)]),
];

/// # Shapes
/// `x` with each of `axes` gone, or of length 1 under `keep_dims`; absent `axes` are all axes.
pub fn infer_over_axes(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axes = match known_ints(ctx, "axes")? {
        Some(axes) => distinct_axes("axes", &axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    Ok(vec![TensorType { dtype: x.dtype, shape: reduced(x, &axes, known_bool_or(ctx, "keep_dims", false)?) }.into()])
}

/// # Shapes
/// `x` with `axis` gone, or of length 1 under `keep_dims`. The elements are int32, or uint16 where `output_dtype` says so.
pub fn infer_index_along_axis(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axis = axis_or(ctx, "axis", -1, x.rank())?;
    let dtype = match known_string_or(ctx, "output_dtype", "int32")? {
        "int32" => DataType::Int32,
        "uint16" => DataType::UInt16,
        other => return Err(InferError::operand("output_dtype", "`int32` or `uint16`", format!("`{other}`"))),
    };
    Ok(vec![TensorType { dtype, shape: reduced(x, &[axis], known_bool_or(ctx, "keep_dims", false)?) }.into()])
}

fn reduced(x: &TensorType, axes: &[usize], keep_dims: bool) -> Vec<Dimension> {
    let mut gone = vec![false; x.rank()];
    for axis in axes {
        if let Some(gone) = gone.get_mut(*axis) {
            *gone = true;
        }
    }
    let kept = |(size, gone): (&Dimension, bool)| match (gone, keep_dims) {
        (false, _) => Some(*size),
        (true, true) => Some(Dimension::Fixed(1)),
        (true, false) => None,
    };
    x.shape.iter().zip(gone).filter_map(kept).collect()
}

/// `floats` or `integers` of each group of elements of `x` that `axes` bring together. They give nothing where nothing is
/// left of no elements.
pub fn over_axes(
    call: &mut Call<'_>,
    floats: impl Fn(&[f32]) -> Option<f32>,
    integers: impl Fn(&[i32]) -> Option<i32>,
) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axes = axes_or_all(call, x.rank())?;
    let shape = reduced_shape(x.shape(), &axes, call.bool_or("keep_dims", false)?);
    let reduced = if x.dtype().is_float() {
        Tensor::floats(x.dtype(), &shape, reduce_lanes(&x.as_floats()?, x.shape(), &axes, floats)?)?
    } else {
        Tensor::integers(x.dtype(), &shape, reduce_lanes(&x.as_integers()?, x.shape(), &axes, integers)?)?
    };
    Ok(vec![reduced])
}

/// Where, along an axis of `x`, the first element is that compares as `wanted` to all others; what is not a number comes
/// before everything.
pub fn index_along_axis(call: &mut Call<'_>, wanted: Ordering) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", -1, x.rank())?;
    let dtype = match call.string_or("output_dtype", "int32")? {
        "uint16" => DataType::UInt16,
        _ => DataType::Int32,
    };
    let shape = reduced_shape(x.shape(), &[axis], call.bool_or("keep_dims", false)?);
    let indices = if x.dtype().is_float() {
        reduce_lanes(&x.as_floats()?, x.shape(), &[axis], |lane| position(lane, wanted))?
    } else {
        reduce_lanes(&x.as_integers()?, x.shape(), &[axis], |lane| position(lane, wanted))?
    };
    Ok(vec![Tensor::integers(dtype, &shape, index_elements(dtype, &indices)?)?])
}

/// Indices as elements of type `dtype`, which is int32 or uint16.
pub fn index_elements(dtype: DataType, indices: &[usize]) -> Result<Vec<i32>, InferError> {
    let largest = if dtype == DataType::UInt16 { i32::from(u16::MAX) } else { i32::MAX };
    let element = |index: &usize| {
        let fits = i32::try_from(*index).ok().filter(|index| *index <= largest);
        fits.ok_or_else(|| InferError::Mismatch(format!("index {index} is too large for {dtype}")))
    };
    indices.iter().map(element).collect()
}

fn position<T: PartialOrd>(lane: &[T], wanted: Ordering) -> Option<usize> {
    let (mut found, mut best) = (0, lane.first()?);
    for (index, value) in lane.iter().enumerate().skip(1) {
        if is_nan(best) {
            break;
        }
        if value.partial_cmp(best).is_none_or(|order| order == wanted) {
            (found, best) = (index, value);
        }
    }
    Some(found)
}

/// Whether a value is not equal to itself.
pub fn is_nan<T: PartialOrd>(value: &T) -> bool {
    value.partial_cmp(value).is_none()
}

/// The constant `axes` as sorted indices; all axes where they are absent.
pub fn axes_or_all(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, EvaluateError> {
    let Some(axes) = call.optional_integers("axes")? else { return Ok((0..rank).collect()) };
    let axes: Vec<i64> = axes.iter().map(|axis| i64::from(*axis)).collect();
    let mut axes = distinct_axes("axes", &axes, rank)?;
    axes.sort_unstable();
    Ok(axes)
}

/// The order of axes in which `axes` come last.
pub fn axes_last(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect()
}

/// The elements with their axes in another order.
pub fn reordered<'a, T: Clone>(values: &'a [T], shape: &[usize], order: &[usize]) -> Cow<'a, [T]> {
    if order.is_sorted() {
        return Cow::Borrowed(values);
    }
    let strides = row_major(shape);
    let size = |axis: &usize| shape.get(*axis).copied().unwrap_or(1);
    let stride = |axis: &usize| strides.get(*axis).and_then(|stride| isize::try_from(*stride).ok()).unwrap_or(0);
    let mut output = Vec::new();
    let sizes: Vec<usize> = order.iter().map(size).collect();
    strided_copy(values, 0, &sizes, &order.iter().map(stride).collect::<Vec<_>>(), &mut output);
    Cow::Owned(output)
}

/// `function` of each group of elements that `axes` bring together.
fn reduce_lanes<T: Clone, R>(
    values: &[T],
    shape: &[usize],
    axes: &[usize],
    function: impl Fn(&[T]) -> Option<R>,
) -> Result<Vec<R>, EvaluateError> {
    let length = axes.iter().filter_map(|axis| shape.get(*axis)).product();
    let reduced: Option<Vec<R>> = if length == 0 {
        let count = reduced_shape(shape, axes, false).iter().product();
        (0..count).map(|_: usize| function(&[])).collect()
    } else {
        reordered(values, shape, &axes_last(shape.len(), axes)).chunks_exact(length).map(function).collect()
    };
    Ok(reduced.ok_or_else(|| InferError::operand("x", "elements to reduce", "none"))?)
}

fn reduced_shape(shape: &[usize], axes: &[usize], keep_dims: bool) -> Vec<usize> {
    let kept = |(axis, size): (usize, &usize)| match (axes.contains(&axis), keep_dims) {
        (false, _) => Some(*size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    shape.iter().enumerate().filter_map(kept).collect()
}

/// The sum of `function` of each value, in fp64.
pub fn sum(values: &[f32], function: impl Fn(f32) -> f64) -> f64 {
    // Several sums at a time, because one would wait for itself.
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += function(*value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| function(*value)).sum::<f64>()
}

/// The square, which fp64 holds exactly.
pub fn square(value: f32) -> f64 {
    f64::from(value) * f64::from(value)
}

/// The nearest f32.
#[expect(clippy::cast_possible_truncation, reason = "results are f32")]
pub fn single(value: f64) -> f32 {
    value as f32
}

/// The integer next to `value` in the direction of zero.
#[expect(clippy::cast_possible_truncation, reason = "integer results drop the fraction")]
pub fn truncated(value: f64) -> i32 {
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reductions;
    use crate::ops::testing::{Operands, fp16, int32, tensor};
    use crate::value::{BlobReference, Value};

    fn over(axes: Option<&[i32]>, keep_dims: bool) -> Result<Vec<ValueType>, InferError> {
        let mut operands = Operands::default().with("x", fp16(&[2, -1, 4]));
        if let Some(axes) = axes {
            operands = operands.constant("axes", Value::int32s(axes));
        }
        operands.constant("keep_dims", Value::bool(keep_dims)).infer(&reductions::REDUCE_MAX)
    }

    #[test]
    fn reduced_axes_go_or_stay_with_length_one() {
        assert_eq!(over(Some(&[-1]), false), Ok(vec![fp16(&[2, -1])]));
        assert_eq!(over(Some(&[-1, 1]), true), Ok(vec![fp16(&[2, 1, 1])]));
        assert_eq!(over(Some(&[]), false), Ok(vec![fp16(&[2, -1, 4])]));
    }

    #[test]
    fn absent_axes_are_all_axes() {
        assert_eq!(over(None, false), Ok(vec![fp16(&[])]));
        assert_eq!(over(None, true), Ok(vec![fp16(&[1, 1, 1])]));
    }

    #[test]
    fn axes_outside_of_x_or_twice_are_refused() {
        assert!(over(Some(&[3]), false).is_err());
        assert!(over(Some(&[i32::MIN]), false).is_err());
        assert!(over(Some(&[0, -3]), false).is_err());
    }

    #[test]
    fn axes_that_inference_cannot_see_are_refused() {
        let x = Operands::default().with("x", fp16(&[2, 4]));
        assert!(x.clone().with("axes", int32(&[1])).infer(&reductions::REDUCE_MAX).is_err());
        let reference = BlobReference { file_name: "weights".to_owned(), offset: 64 };
        let blob = Value::blob(TensorType::fixed(DataType::Int32, &[1]), reference);
        assert!(x.constant("axes", blob).infer(&reductions::REDUCE_MAX).is_err());
    }

    #[test]
    fn an_index_is_int32_unless_asked_otherwise() {
        let x = Operands::default().with("x", fp16(&[2, 5]));
        assert_eq!(x.clone().infer(&reductions::REDUCE_ARGMAX), Ok(vec![int32(&[2])]));
        let short = x.clone().constant("output_dtype", Value::string("uint16")).constant("axis", Value::int32(0));
        let short = short.constant("keep_dims", Value::bool(true));
        assert_eq!(short.infer(&reductions::REDUCE_ARGMAX), Ok(vec![tensor(DataType::UInt16, &[1, 5])]));
        assert!(x.clone().constant("output_dtype", Value::string("fp16")).infer(&reductions::REDUCE_ARGMAX).is_err());
        assert!(x.constant("axis", Value::int32(2)).infer(&reductions::REDUCE_ARGMAX).is_err());
    }

    #[test]
    fn a_scalar_has_no_index() {
        assert!(Operands::default().with("x", fp16(&[])).infer(&reductions::REDUCE_ARGMAX).is_err());
    }
}
