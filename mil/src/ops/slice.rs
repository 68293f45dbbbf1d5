//! What `slice_by_index` and `slice_update` share: the shape of a slice with begins, ends, strides and masks.

use super::decl::{InferError, OpContext};
use super::shape::{known, one_per_axis};
use crate::evaluate::{Call, EvaluateError, row_major};
use crate::types::{Dimension, TensorType};
use crate::value::Value;

/// Masks of a slice; each is empty, which means no axis, or has one element per axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceMasks {
    /// Axes that start at the first element, whatever `begin` says.
    pub begin_mask: Vec<bool>,
    /// Axes that stop behind the last element, whatever `end` says.
    pub end_mask: Vec<bool>,
    /// Axes of which only the element at `begin` is taken, and which the result does not have.
    pub squeeze_mask: Vec<bool>,
}

impl SliceMasks {
    /// Only an end mask, which is what most slices need.
    pub fn end(end_mask: &[bool]) -> Self {
        Self { end_mask: end_mask.to_vec(), ..Self::default() }
    }

    /// The masks with the names of their parameters.
    pub(super) fn parameters(&self) -> [(&'static str, &[bool]); 3] {
        [("begin_mask", &self.begin_mask), ("end_mask", &self.end_mask), ("squeeze_mask", &self.squeeze_mask)]
    }
}

/// The shape of the slice of `x` that the operands of `ctx` describe.
///
/// Where `begin`, `end` or an axis of `x` is not known, neither is the length of the slice, but for the lengths 0 and 1 of
/// axes that are sliced within their bounds.
pub(super) fn slice_shape(ctx: &OpContext<'_>, x: &TensorType) -> Result<Vec<Dimension>, InferError> {
    let rank = x.rank();
    let begin = bounds(ctx, "begin", rank)?;
    let end = bounds(ctx, "end", rank)?;
    let stride = known(ctx, "stride", ctx.ints("stride")?)?;
    let stride = per_axis("stride", stride.as_deref(), rank, 1)?;
    let begin_mask = mask(ctx, "begin_mask", rank)?;
    let end_mask = mask(ctx, "end_mask", rank)?;
    let squeeze_mask = mask(ctx, "squeeze_mask", rank)?;
    let mut shape = Vec::with_capacity(rank);
    let at = |bounds: &Option<Vec<i64>>, axis: usize| bounds.as_ref().and_then(|bounds| bounds.get(axis).copied());
    for (axis, (size, stride)) in x.shape.iter().zip(stride).enumerate() {
        let flag = |mask: &[bool]| mask.get(axis).copied().unwrap_or(false);
        let bound = |masked: bool, value: Option<i64>| match (masked, value) {
            (true, _) => Bound::Open,
            (false, Some(value)) => Bound::At(value),
            (false, None) => Bound::Unknown,
        };
        let begin = bound(flag(&begin_mask), at(&begin, axis));
        if flag(&squeeze_mask) {
            check_index(axis, *size, begin)?;
        } else {
            shape.push(length(axis, *size, begin, bound(flag(&end_mask), at(&end, axis)), stride)?);
        }
    }
    Ok(shape)
}

/// A slice of a running program: which elements of a row-major tensor it takes.
pub(super) struct StridedSlice {
    /// The first element.
    pub(super) start: usize,
    /// Elements of each axis; 1 for axes that the result does not have.
    pub(super) lengths: Vec<usize>,
    /// Distances between them.
    pub(super) strides: Vec<isize>,
    /// The shape of the result.
    pub(super) shape: Vec<usize>,
}

impl StridedSlice {
    /// The slice of a tensor of shape `x` that the operands of `call` describe.
    pub(super) fn of(call: &Call<'_>, x: &[usize]) -> Result<Self, EvaluateError> {
        let rank = x.len();
        let ints = |parameter: &str| -> Result<Option<Vec<i64>>, EvaluateError> {
            let values = call.optional_integers(parameter)?;
            Ok(values.map(|values| values.iter().map(|value| i64::from(*value)).collect()))
        };
        let begin = per_axis("begin", ints("begin")?.as_deref(), rank, 0)?;
        let end = per_axis("end", ints("end")?.as_deref(), rank, 0)?;
        let stride = per_axis("stride", ints("stride")?.as_deref(), rank, 1)?;
        let masks = ["begin_mask", "end_mask", "squeeze_mask"].map(|parameter| {
            let given = call.bools(parameter)?;
            Ok::<_, EvaluateError>(per_axis(parameter, Some(given).filter(|given| !given.is_empty()), rank, false)?)
        });
        let [begin_mask, end_mask, squeeze_mask] = masks;
        let (begin_mask, end_mask, squeeze_mask) = (begin_mask?, end_mask?, squeeze_mask?);
        let mut slice = Self { start: 0, lengths: Vec::new(), strides: Vec::new(), shape: Vec::new() };
        let axes = x.iter().zip(row_major(x)).zip(begin.into_iter().zip(end)).zip(stride).enumerate();
        for (axis, (((size, distance), (begin, end)), stride)) in axes {
            let flag = |mask: &[bool]| mask.get(axis).copied().unwrap_or(false);
            let bound = |masked: bool, value: i64| if masked { Bound::Open } else { Bound::At(value) };
            let dimension = Dimension::Fixed(*size as u64);
            let begin = bound(flag(&begin_mask), begin);
            let (count, stride) = if flag(&squeeze_mask) {
                check_index(axis, dimension, begin)?;
                (1, 1)
            } else {
                let count = length(axis, dimension, begin, bound(flag(&end_mask), end), stride)?;
                let count = count.fixed().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                slice.shape.push(count);
                (count, stride)
            };
            slice.start += first_index(*size, begin, stride) * distance;
            slice.lengths.push(count);
            let distance = isize::try_from(distance).unwrap_or(isize::MAX);
            slice.strides.push(isize::try_from(stride).unwrap_or(isize::MAX).saturating_mul(distance));
        }
        Ok(slice)
    }
}

/// The index at which a slice of an axis of `size` elements begins; 0 where it is empty.
fn first_index(size: usize, begin: Bound, stride: i64) -> usize {
    let last = size.saturating_sub(1);
    match begin {
        Bound::Open if stride < 0 => last,
        Bound::Open | Bound::Unknown => 0,
        Bound::At(index) => {
            let index = if index < 0 { index.saturating_add_unsigned(size as u64) } else { index };
            usize::try_from(index).unwrap_or(0).min(last)
        }
    }
}

/// Where a slice of one axis begins or ends.
#[derive(Clone, Copy)]
enum Bound {
    /// At the outermost element.
    Open,
    /// At this index, which counts from the end where it is negative.
    At(i64),
    /// Where the running program says.
    Unknown,
}

fn bounds(ctx: &OpContext<'_>, parameter: &str, rank: usize) -> Result<Option<Vec<i64>>, InferError> {
    one_per_axis(parameter, ctx.tensor(parameter)?, rank)?;
    match ctx.ints(parameter)? {
        Some(values) => per_axis(parameter, Some(&values), rank, 0).map(Some),
        None => Ok(None),
    }
}

fn mask(ctx: &OpContext<'_>, parameter: &str, rank: usize) -> Result<Vec<bool>, InferError> {
    let values = known(ctx, parameter, ctx.value(parameter, "constant booleans", Value::as_bools)?)?;
    per_axis(parameter, values, rank, false)
}

fn per_axis<T: Copy>(parameter: &str, values: Option<&[T]>, rank: usize, default: T) -> Result<Vec<T>, InferError> {
    match values {
        None => Ok(vec![default; rank]),
        Some(values) if values.len() == rank => Ok(values.to_vec()),
        Some(values) => {
            Err(InferError::operand(parameter, format!("{rank} elements"), format!("{} elements", values.len())))
        }
    }
}

fn check_index(axis: usize, size: Dimension, begin: Bound) -> Result<(), InferError> {
    if let (Bound::At(index), Some(size)) = (begin, size.fixed()) {
        let size = i128::from(size);
        if !(-size..size).contains(&i128::from(index)) {
            return Err(InferError::operand("begin", format!("an index into axis {axis} of length {size}"), index));
        }
    }
    Ok(())
}

fn length(axis: usize, size: Dimension, begin: Bound, end: Bound, stride: i64) -> Result<Dimension, InferError> {
    if stride == 0 {
        return Err(InferError::operand("stride", "strides other than 0", format!("0 on axis {axis}")));
    }
    let forward = stride > 0;
    if let (Bound::At(begin), Bound::At(end)) = (begin, end)
        && (begin < 0) == (end < 0)
        && if forward { end < begin } else { begin < end }
    {
        let found = format!("{begin} to {end} by {stride}");
        return Err(InferError::operand("end", format!("an end behind `begin` on axis {axis}"), found));
    }
    let Some(size) = size.fixed() else { return Ok(length_within_bounds(begin, end, stride)) };
    let size = i128::from(size);
    let (lowest, highest) = if forward { (0, size) } else { (-1, size - 1) };
    let (first, behind) = if forward { (lowest, highest) } else { (highest, lowest) };
    let resolve = |bound: Bound, open: i128| match bound {
        Bound::Open => Some(open),
        Bound::At(index) => {
            let index = i128::from(index);
            Some(if index < 0 { index + size } else { index }.clamp(lowest, highest))
        }
        Bound::Unknown => None,
    };
    let (Some(begin), Some(end)) = (resolve(begin, first), resolve(end, behind)) else { return Ok(Dimension::Unknown) };
    Ok(steps(begin, end, stride))
}

/// The length of a slice of an axis of unknown length, where it can be told.
fn length_within_bounds(begin: Bound, end: Bound, stride: i64) -> Dimension {
    match (begin, end) {
        (Bound::At(begin), Bound::At(end)) if (begin < 0) == (end < 0) => {
            match steps(i128::from(begin), i128::from(end), stride) {
                determined @ Dimension::Fixed(0 | 1) => determined,
                _ => Dimension::Unknown,
            }
        }
        (Bound::At(-1), Bound::Open) if stride > 0 => Dimension::Fixed(1),
        (Bound::At(0), Bound::Open) if stride < 0 => Dimension::Fixed(1),
        _ => Dimension::Unknown,
    }
}

/// How many indices from `begin` towards `end` there are.
fn steps(begin: i128, end: i128, stride: i64) -> Dimension {
    let stride = i128::from(stride);
    let distance = if stride > 0 { end - begin } else { begin - end };
    let stride = stride.abs();
    let count = if distance <= 0 { 0 } else { (distance - 1) / stride + 1 };
    u64::try_from(count).map_or(Dimension::Unknown, Dimension::Fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sliced(size: i64, begin: Bound, end: Bound, stride: i64) -> Option<Dimension> {
        let size = u64::try_from(size).map_or(Dimension::Unknown, Dimension::Fixed);
        length(0, size, begin, end, stride).ok()
    }

    #[test]
    fn bounds_count_from_the_end_where_negative_and_stop_at_the_axis() {
        assert_eq!(sliced(10, Bound::At(2), Bound::At(7), 1), Some(Dimension::Fixed(5)));
        assert_eq!(sliced(10, Bound::At(-3), Bound::At(-1), 1), Some(Dimension::Fixed(2)));
        assert_eq!(sliced(10, Bound::At(2), Bound::At(-2), 3), Some(Dimension::Fixed(2)));
        assert_eq!(sliced(10, Bound::At(8), Bound::At(100), 1), Some(Dimension::Fixed(2)));
        assert_eq!(sliced(10, Bound::At(i64::MIN), Bound::At(i64::MAX), 1), Some(Dimension::Fixed(10)));
        assert_eq!(sliced(10, Bound::At(9), Bound::At(-5), 1), Some(Dimension::Fixed(0)));
        assert_eq!(sliced(10, Bound::At(4), Bound::At(4), 1), Some(Dimension::Fixed(0)));
    }

    #[test]
    fn strides_step_backwards_where_negative() {
        assert_eq!(sliced(10, Bound::Open, Bound::Open, -1), Some(Dimension::Fixed(10)));
        assert_eq!(sliced(10, Bound::Open, Bound::Open, -3), Some(Dimension::Fixed(4)));
        assert_eq!(sliced(10, Bound::At(7), Bound::At(2), -2), Some(Dimension::Fixed(3)));
        assert_eq!(sliced(10, Bound::Open, Bound::Open, i64::MIN), Some(Dimension::Fixed(1)));
        assert_eq!(sliced(0, Bound::Open, Bound::Open, -1), Some(Dimension::Fixed(0)));
    }

    #[test]
    fn ends_before_begins_and_strides_of_zero_are_refused() {
        assert_eq!(sliced(10, Bound::At(7), Bound::At(2), 1), None);
        assert_eq!(sliced(10, Bound::At(2), Bound::At(7), -1), None);
        assert_eq!(sliced(10, Bound::Open, Bound::Open, 0), None);
    }

    #[test]
    fn an_axis_or_bound_of_the_running_program_leaves_the_length_open() {
        assert_eq!(sliced(-1, Bound::Open, Bound::Open, 1), Some(Dimension::Unknown));
        assert_eq!(sliced(-1, Bound::At(0), Bound::At(8), 1), Some(Dimension::Unknown));
        assert_eq!(sliced(10, Bound::Unknown, Bound::At(8), 1), Some(Dimension::Unknown));
        assert_eq!(sliced(10, Bound::At(0), Bound::Unknown, 1), Some(Dimension::Unknown));
    }

    #[test]
    fn one_element_within_bounds_is_one_element_of_any_axis() {
        assert_eq!(sliced(-1, Bound::At(3), Bound::At(4), 1), Some(Dimension::Fixed(1)));
        assert_eq!(sliced(-1, Bound::At(-1), Bound::Open, 1), Some(Dimension::Fixed(1)));
        assert_eq!(sliced(-1, Bound::At(0), Bound::Open, -1), Some(Dimension::Fixed(1)));
    }

    #[test]
    fn lengths_of_the_largest_axes_do_not_overflow() {
        let huge = Dimension::Fixed(u64::MAX);
        assert_eq!(length(0, huge, Bound::Open, Bound::Open, 1), Ok(huge));
        assert_eq!(length(0, huge, Bound::Open, Bound::Open, -1), Ok(huge));
        assert!(check_index(0, huge, Bound::At(i64::MIN)).is_ok());
    }
}
