//! `slice_by_size`: a part of a tensor by its sizes.

use super::decl::{InferError, OpContext, OpDecl};
use super::evidence::WATCH;
use super::shape::{MOVED_X, known, one_per_axis, positions};
use crate::evaluate::{Call, EvaluateError, Tensor, row_major};
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "slice_by_size",
    "Takes `size` elements of `x` from `begin` on; -1 takes all that follow.",
    &[MOVED_X, positions("begin").group('U'), positions("size").group('U')],
    infer,
)
.moves(evaluate)
.seen(WATCH);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    for parameter in ["begin", "size"] {
        one_per_axis(parameter, ctx.tensor(parameter)?, x.rank())?;
    }
    // Both may be computed at run time.
    let run_time = |parameter: &str| ctx.optional(parameter).is_some_and(|operand| operand.value.is_none());
    let sizes = if run_time("size") { None } else { known(ctx, "size", ctx.ints("size")?)? };
    let begins = if run_time("begin") { None } else { known(ctx, "begin", ctx.ints("begin")?)? };
    let Some(sizes) = sizes else {
        let shape = vec![Dimension::Unknown; x.rank()];
        return Ok(vec![TensorType { dtype: x.dtype, shape }.into()]);
    };
    let mut shape = Vec::with_capacity(x.rank());
    for (axis, (length, size)) in x.shape.iter().zip(&sizes).enumerate() {
        let begin = begins.as_ref().and_then(|begins| begins.get(axis)).map(|begin| from_start(*begin, *length));
        shape.push(slice_length(axis, *length, *size, begin.flatten())?);
    }
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

/// A begin counted from the start, where both it and the axis are known well enough.
fn from_start(begin: i64, length: Dimension) -> Option<u64> {
    match (u64::try_from(begin), length.fixed()) {
        (Ok(begin), _) => Some(begin),
        (Err(_), Some(length)) => length.checked_sub(begin.unsigned_abs()),
        (Err(_), None) => None,
    }
}

fn slice_length(axis: usize, length: Dimension, size: i64, begin: Option<u64>) -> Result<Dimension, InferError> {
    let mismatch = || InferError::Mismatch(format!("{size} elements do not fit axis {axis} of {length}"));
    if size == -1 {
        let (Some(length), Some(begin)) = (length.fixed(), begin) else { return Ok(Dimension::Unknown) };
        return length.checked_sub(begin).map(Dimension::Fixed).ok_or_else(mismatch);
    }
    let size = u64::try_from(size).map_err(|_| mismatch())?;
    let end = begin.unwrap_or(0).checked_add(size).ok_or_else(mismatch)?;
    if length.fixed().is_some_and(|length| end > length) {
        return Err(mismatch());
    }
    Ok(Dimension::Fixed(size))
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let (begins, sizes) = (call.integers("begin")?, call.integers("size")?);
    for (parameter, given) in [("begin", &begins), ("size", &sizes)] {
        if given.len() != x.rank() {
            return Err(InferError::operand(parameter, format!("{} elements", x.rank()), given.len()).into());
        }
    }
    let mut start = 0;
    let mut shape = Vec::with_capacity(x.rank());
    let strides = row_major(x.shape());
    let axes = x.shape().iter().zip(&strides).zip(begins.iter().zip(sizes.iter()));
    for (axis, ((length, stride), (begin, size))) in axes.enumerate() {
        let dimension = Dimension::Fixed(*length as u64);
        let outside = || InferError::Mismatch(format!("{begin} is outside of axis {axis} of {length}"));
        let begin = from_start(i64::from(*begin), dimension).ok_or_else(outside)?;
        let count = slice_length(axis, dimension, i64::from(*size), Some(begin))?;
        shape.push(count.fixed().and_then(|count| usize::try_from(count).ok()).ok_or_else(outside)?);
        start += usize::try_from(begin).map_err(|_| outside())? * stride;
    }
    let strides: Vec<isize> = strides.into_iter().map(|stride| isize::try_from(stride).unwrap_or(isize::MAX)).collect();
    Ok(vec![x.strided(start, &shape, &strides)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::value::Value;

    fn slice(begin: &[i32], size: &[i32]) -> Result<Vec<ValueType>, InferError> {
        let operands = Operands::default().with("x", fp16(&[4, 8]));
        operands.constant("begin", Value::int32s(begin)).constant("size", Value::int32s(size)).infer(&DECL)
    }

    #[test]
    fn minus_one_takes_the_rest() {
        assert_eq!(slice(&[1, 2], &[2, -1]), Ok(vec![fp16(&[2, 6])]));
    }

    #[test]
    fn a_part_beyond_the_end_is_refused() {
        assert!(slice(&[1, 2], &[4, 1]).is_err());
        assert!(slice(&[1], &[1]).is_err());
        assert!(slice(&[0, 0], &[1, -2]).is_err());
    }
}
