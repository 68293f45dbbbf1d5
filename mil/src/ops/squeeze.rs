//! `squeeze`: a tensor without some of its axes of length 1.

use super::decl::{INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::shape::{MOVED_X, compatible, distinct_axes, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "squeeze",
    "Takes `axes`, or every axis, of length 1 from `x`.",
    &[MOVED_X, Parameter::new("axes", INT32).constant().optional()],
    infer,
)
.moves(evaluate)
.seen(SILERO)
.renewed(&[Opset::Ios17, Opset::Ios18]);

/// # Shapes
/// `x` without `axes`, which have length 1. Without `axes`, an axis of unknown length is taken to be longer than 1.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let one = Dimension::Fixed(1);
    let Some(axes) = known_ints(ctx, "axes")? else {
        let shape = x.shape.iter().copied().filter(|size| *size != one).collect();
        return Ok(vec![TensorType { dtype: x.dtype, shape }.into()]);
    };
    let mut gone = vec![false; x.rank()];
    for axis in distinct_axes("axes", &axes, x.rank())? {
        if !x.shape.get(axis).is_some_and(|size| compatible(*size, one)) {
            return Err(InferError::operand("axes", format!("axes of {x} of length 1"), format!("axis {axis}")));
        }
        if let Some(gone) = gone.get_mut(axis) {
            *gone = true;
        }
    }
    let shape = x.shape.iter().zip(gone).filter(|(_, gone)| !gone).map(|(size, _)| *size).collect();
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let axes: Option<Vec<i64>> =
        call.optional_integers("axes")?.map(|axes| axes.iter().map(|axis| i64::from(*axis)).collect());
    let x = call.take("x")?;
    let dropped = match axes {
        Some(axes) => distinct_axes("axes", &axes, x.rank())?,
        None => (0..x.rank()).filter(|axis| x.shape().get(*axis) == Some(&1)).collect(),
    };
    let kept = x.shape().iter().enumerate().filter(|(axis, _)| !dropped.contains(axis));
    let shape: Vec<usize> = kept.map(|(_, length)| *length).collect();
    Ok(vec![x.reshaped(&shape)?])
}

impl FunctionBuilder {
    /// Takes `axes`, which have length 1, from `x`.
    pub fn squeeze(&mut self, name: &str, x: &Var, axes: &[i32]) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("axes", Value::int32s(axes)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, infer_of_integers};

    fn squeeze(x: &[i64], axes: &[i32]) -> Result<Vec<ValueType>, InferError> {
        infer_of_integers(&DECL, x, "axes", axes)
    }

    #[test]
    fn the_axes_go() {
        assert_eq!(squeeze(&[1, 8, 2048, 1], &[0, -1]), Ok(vec![fp16(&[8, 2048])]));
        assert_eq!(squeeze(&[-1, 8], &[0]), Ok(vec![fp16(&[8])]));
    }

    #[test]
    fn without_axes_every_axis_of_length_one_goes() {
        assert_eq!(Operands::default().with("x", fp16(&[1, -1, 1, 3])).infer(&DECL), Ok(vec![fp16(&[-1, 3])]));
    }

    #[test]
    fn longer_axes_and_axes_outside_of_x_are_refused() {
        assert!(squeeze(&[1, 8], &[1]).is_err());
        assert!(squeeze(&[1, 8], &[2]).is_err());
        assert!(squeeze(&[1, 8], &[0, -2]).is_err());
    }
}
