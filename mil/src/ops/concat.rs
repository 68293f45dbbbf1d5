//! `concat`: tensors one after another along an axis.

use std::ops::Range;

use super::decl::{BOOL, Domain, INT32, InferError, OpContext, OpDecl, Parameter, normalize_axis};
use super::evidence::SILERO;
use super::shape::{compatible, known_bool_or, known_int_or};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "concat",
    "Puts `values` one after another along `axis`.",
    &[
        Parameter::new("values", Domain::Any).variadic().group('T'),
        Parameter::new("axis", INT32).constant(),
        Parameter::new("interleave", BOOL).constant().defaulted(),
    ],
    infer,
)
.moves(evaluate)
.seen(SILERO)
.renewed(&[Opset::Ios17, Opset::Ios18]);

/// # Shapes
/// `values` agree in all axes but `axis`, and under `interleave` in all; the result is as long on `axis` as all of them
/// together. Scalars make a vector.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let values = ctx.tensors("values")?;
    let first = *values.first().ok_or_else(|| InferError::Missing("values".to_owned()))?;
    ctx.required("axis")?;
    let scalars = first.rank() == 0;
    let axis = normalize_axis("axis", known_int_or(ctx, "axis", 0)?, first.rank().max(1))?;
    let interleave = known_bool_or(ctx, "interleave", false)?;
    let mut shape = if scalars { vec![Dimension::Fixed(1)] } else { first.shape.clone() };
    let mut total = Some(0_u64);
    for value in &values {
        let misfit = || InferError::operand("values", format!("tensors that fit {first} along axis {axis}"), value);
        if value.rank() != first.rank() || value.dtype != first.dtype {
            return Err(misfit());
        }
        for (index, (merged, size)) in shape.iter_mut().zip(&value.shape).enumerate() {
            if index == axis && !interleave {
                continue;
            }
            if !compatible(*merged, *size) {
                return Err(misfit());
            }
            if *merged == Dimension::Unknown {
                *merged = *size;
            }
        }
        let size = value.shape.get(axis).copied().unwrap_or(Dimension::Fixed(1));
        total = match (total, size.fixed()) {
            (Some(total), Some(size)) => Some(total.checked_add(size).ok_or_else(misfit)?),
            _ => None,
        };
    }
    if let Some(size) = shape.get_mut(axis) {
        *size = total.map_or(Dimension::Unknown, Dimension::Fixed);
    }
    Ok(vec![TensorType { dtype: first.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let as_vector = |value: &Tensor| if value.rank() == 0 { value.clone().reshaped(&[1]) } else { Ok(value.clone()) };
    let values: Vec<Tensor> = call.operands("values").iter().map(as_vector).collect::<Result<_, _>>()?;
    let first = values.first().ok_or_else(|| InferError::Missing("values".to_owned()))?;
    let axis = call.axis_or("axis", 0, first.rank())?;
    let mut shape = first.shape().to_vec();
    let mut joined = 0_usize;
    for value in &values {
        let others = |shape: &[usize]| {
            shape.iter().enumerate().all(|(at, size)| at == axis || value.shape().get(at) == Some(size))
        };
        if value.rank() != shape.len() || !others(&shape) {
            return Err(InferError::operand("values", format!("tensors like {}", first.ty()), value.ty()).into());
        }
        joined += value.shape().get(axis).copied().unwrap_or(0);
    }
    if let Some(length) = shape.get_mut(axis) {
        *length = joined;
    }
    let runs = runs(&values, axis, call.bool_or("interleave", false)?);
    Ok(vec![Tensor::from_runs(&values, &shape, runs.into_iter())?])
}

/// Which elements of which value follow each other along `axis`: all of each value in turn, or one index of each where
/// they interleave.
fn runs(values: &[Tensor], axis: usize, interleave: bool) -> Vec<(usize, Range<usize>)> {
    let parts: Vec<[usize; 3]> = values.iter().map(|value| along_axis(value.shape(), axis)).collect();
    let outer = parts.first().map_or(0, |[outer, ..]| *outer);
    let mut runs = Vec::new();
    for outer in 0..outer {
        if interleave {
            let length = parts.first().map_or(0, |[_, length, _]| *length);
            for index in 0..length {
                runs.extend(parts.iter().enumerate().map(|(part, [_, length, inner])| {
                    let start = (outer * length + index) * inner;
                    (part, start..start + inner)
                }));
            }
        } else {
            runs.extend(
                parts
                    .iter()
                    .enumerate()
                    .map(|(part, [_, length, inner])| (part, outer * length * inner..(outer + 1) * length * inner)),
            );
        }
    }
    runs
}

impl FunctionBuilder {
    /// Puts `values` one after another along `axis`.
    pub fn concat(&mut self, name: &str, values: &[&Var], axis: i32) -> Result<Var, BuildError> {
        self.call(&DECL, name)
            .operands("values", values)
            .constant("axis", Value::int32(axis))
            .constant("interleave", Value::bool(false))
            .single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32};

    fn concat(shapes: &[&[i64]], axis: i32, interleave: bool) -> Result<Vec<ValueType>, InferError> {
        let values: Vec<_> = shapes.iter().map(|shape| fp16(shape)).collect();
        Operands::default()
            .with_all("values", &values)
            .constant("axis", Value::int32(axis))
            .constant("interleave", Value::bool(interleave))
            .infer(&DECL)
    }

    #[test]
    fn lengths_add_up_along_the_axis() {
        assert_eq!(concat(&[&[2, 3], &[2, 4], &[2, 1]], -1, false), Ok(vec![fp16(&[2, 8])]));
        assert_eq!(concat(&[&[2, 3]], 0, false), Ok(vec![fp16(&[2, 3])]));
        assert_eq!(concat(&[&[], &[], &[]], 0, false), Ok(vec![fp16(&[3])]));
    }

    #[test]
    fn an_unknown_length_along_the_axis_leaves_it_open_and_elsewhere_is_settled_by_the_others() {
        assert_eq!(concat(&[&[2, 3], &[2, -1]], 1, false), Ok(vec![fp16(&[2, -1])]));
        assert_eq!(concat(&[&[-1, 3], &[2, 3]], 1, false), Ok(vec![fp16(&[2, 6])]));
        assert!(concat(&[&[-1, 3], &[2, 3], &[4, 3]], 1, false).is_err());
    }

    #[test]
    fn interleaved_values_have_one_shape() {
        assert_eq!(concat(&[&[2, 3], &[2, 3]], 1, true), Ok(vec![fp16(&[2, 6])]));
        assert!(concat(&[&[2, 3], &[2, 4]], 1, true).is_err());
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        assert!(concat(&[&[2, 3], &[3, 3]], 1, false).is_err());
        assert!(concat(&[&[2, 3], &[2]], 1, false).is_err());
        assert!(concat(&[&[2, 3], &[2, 3]], 2, false).is_err());
        assert!(concat(&[&[i64::MAX], &[i64::MAX], &[i64::MAX]], 0, false).is_err());
        assert!(concat(&[], 0, false).is_err());
        let mixed = Operands::default().with_all("values", &[fp16(&[1]), int32(&[1])]);
        assert!(mixed.constant("axis", Value::int32(0)).infer(&DECL).is_err());
    }

    #[test]
    fn the_axis_must_be_given() {
        assert!(Operands::default().with_all("values", &[fp16(&[1])]).infer(&DECL).is_err());
    }
}
