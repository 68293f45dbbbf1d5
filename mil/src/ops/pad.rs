//! `pad`: more elements at the ends of axes.

use super::decl::{Domain, Effect, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results, STRING, pending};
use super::shape::known_string_or;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "pad",
    doc: "Adds elements before and after the last axes of `x`.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", Domain::Any),
        Parameter::new("pad", INT32),
        Parameter::new("mode", STRING).constant().defaulted(),
        Parameter::new("constant_val", FLOATS).constant().defaulted(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

/// # Shapes
/// `pad: [2 * axes]`, the counts before and after each of the last `axes` axes of `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    const MODES: [&str; 3] = ["constant", "reflect", "replicate"];
    let x = ctx.tensor("x")?;
    let pad = ctx.tensor("pad")?;
    let mode = known_string_or(ctx, "mode", "constant")?;
    if !MODES.contains(&mode) {
        return Err(InferError::operand("mode", MODES.join(", "), format!("`{mode}`")));
    }
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
