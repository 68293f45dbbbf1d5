//! `pad`: more elements at the ends of axes.

use super::decl::{Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::SILERO;
use super::shape::known_string_or;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis, check_size};
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "pad",
    "Adds elements before and after the last axes of `x`.",
    &[
        Parameter::new("x", Domain::Any),
        Parameter::new("pad", INT32),
        Parameter::new("mode", STRING).constant().defaulted(),
        Parameter::new("constant_val", FLOATS).constant().defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(SILERO)
.renewed(&[]);

/// # Shapes
/// `pad: [2 * axes]`, the counts before and after each of the last `axes` axes of `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let pad = ctx.tensor("pad")?;
    Mode::named(known_string_or(ctx, "mode", "constant")?)?;
    let count = pad.element_count().filter(|count| pad.rank() == 1 && count.is_multiple_of(2));
    let axes = count.and_then(|count| usize::try_from(count / 2).ok()).filter(|axes| *axes <= x.rank());
    let axes =
        axes.ok_or_else(|| InferError::operand("pad", format!("two counts for up to {} axes", x.rank()), pad))?;
    let first = x.rank() - axes;
    let Some(counts) = ctx.ints("pad")? else {
        let shape = x.shape.iter().enumerate();
        let shape = shape.map(|(axis, size)| if axis < first { *size } else { Dimension::Unknown }).collect();
        return Ok(vec![TensorType { dtype: x.dtype, shape }.into()]);
    };
    let mut shape = x.shape.clone();
    for (size, pair) in shape.iter_mut().skip(first).zip(counts.as_chunks::<2>().0) {
        *size = padded(*size, *pair)?;
    }
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn padded(size: Dimension, [before, after]: [i64; 2]) -> Result<Dimension, InferError> {
    let negative = || InferError::operand("pad", "counts of zero or more", before.min(after));
    let before = u64::try_from(before).map_err(|_| negative())?;
    let after = u64::try_from(after).map_err(|_| negative())?;
    let Some(size) = size.fixed() else { return Ok(Dimension::Unknown) };
    let padded = size.checked_add(before).and_then(|size| size.checked_add(after));
    padded.map(Dimension::Fixed).ok_or_else(|| InferError::Mismatch(format!("an axis of {size} grows beyond 64 bits")))
}

/// What stands in the new places.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// One number.
    Constant,
    /// The elements next to the end, mirrored; the one at the end is not repeated.
    Reflect,
    /// The element at the end.
    Replicate,
}

impl Mode {
    fn named(name: &str) -> Result<Self, InferError> {
        match name {
            "constant" => Ok(Self::Constant),
            "reflect" => Ok(Self::Reflect),
            "replicate" => Ok(Self::Replicate),
            other => Err(InferError::operand("mode", "`constant`, `reflect` or `replicate`", format!("`{other}`"))),
        }
    }
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let mode = Mode::named(call.string_or("mode", "constant")?)?;
    let number = call.float_or("constant_val", 0.0)?;
    let counts = call.integers("pad")?.into_owned();
    let mut x = call.take("x")?.expanded()?;
    let (pairs, rest) = counts.as_chunks::<2>();
    let first = x.rank().checked_sub(pairs.len()).filter(|_| rest.is_empty());
    let axes = || InferError::operand("pad", format!("two counts for up to {} axes", x.rank()), counts.len());
    let first = first.ok_or_else(axes)?;
    for (axis, pair) in pairs.iter().enumerate() {
        let negative = || InferError::operand("pad", "counts of zero or more", format!("{pair:?}"));
        let before = usize::try_from(pair[0]).map_err(|_| negative())?;
        let after = usize::try_from(pair[1]).map_err(|_| negative())?;
        if before + after > 0 {
            x = padded_axis(&x, first + axis, [before, after], mode, number)?;
        }
    }
    Ok(vec![x])
}

fn padded_axis(
    x: &Tensor,
    axis: usize,
    [before, after]: [usize; 2],
    mode: Mode,
    number: f32,
) -> Result<Tensor, EvaluateError> {
    let [outer, length, inner] = along_axis(x.shape(), axis);
    let mut shape = x.shape().to_vec();
    if let Some(size) = shape.get_mut(axis) {
        *size = length.saturating_add(before).saturating_add(after);
    }
    check_size(&shape)?;
    let largest = match mode {
        Mode::Constant => usize::MAX,
        Mode::Reflect => length.saturating_sub(1),
        Mode::Replicate => length.saturating_mul(usize::MAX),
    };
    if before.max(after) > largest {
        let expected = format!("at most {largest} for an axis of {length}");
        return Err(InferError::operand("pad", expected, before.max(after)).into());
    }
    let rest = number_of(x, inner, if mode == Mode::Constant { number } else { 0.0 })?;
    let source = |index: usize| match mode {
        _ if (before..before + length).contains(&index) => Some(index - before),
        Mode::Constant => None,
        Mode::Reflect if index < before => Some(before - index),
        Mode::Reflect => (2 * length).checked_sub(index - before + 2),
        Mode::Replicate if index < before => Some(0),
        Mode::Replicate => length.checked_sub(1),
    };
    let runs = (0..outer).flat_map(|outer| {
        (0..before + length + after).map(move |index| match source(index) {
            Some(index) => (0, (outer * length + index) * inner..(outer * length + index + 1) * inner),
            None => (1, 0..inner),
        })
    });
    Ok(Tensor::from_runs(&[x.clone(), rest], &shape, runs)?)
}

/// `count` times `number`, of the element type of `x`.
fn number_of(x: &Tensor, count: usize, number: f32) -> Result<Tensor, EvaluateError> {
    if x.dtype().is_float() {
        return Ok(Tensor::floats(x.dtype(), &[count], vec![number; count])?);
    }
    if number != 0.0 {
        return Err(InferError::operand("constant_val", format!("0 for elements {}", x.dtype()), number).into());
    }
    Ok(Tensor::zeros(x.dtype(), &[count])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::value::Value;

    fn pad(counts: &[i32]) -> Result<Vec<ValueType>, InferError> {
        Operands::default().with("x", fp16(&[1, -1, 576])).constant("pad", Value::int32s(counts)).infer(&DECL)
    }

    #[test]
    fn the_last_axes_grow() {
        assert_eq!(pad(&[0, 64]), Ok(vec![fp16(&[1, -1, 640])]));
        assert_eq!(pad(&[1, 1, 0, 0]), Ok(vec![fp16(&[1, -1, 576])]));
    }

    #[test]
    fn odd_negative_and_excess_counts_are_refused() {
        assert!(pad(&[1]).is_err());
        assert!(pad(&[-1, 0]).is_err());
        assert!(pad(&[0; 8]).is_err());
    }
}
