//! `tile`: a tensor repeated along its axes.

use super::decl::{Domain, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::shape::one_per_axis;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, check_size, row_major};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const TILEABLE: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int32, DataType::Bool]);

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "tile",
    "Repeats `x` as often as `reps` says along each axis.",
    &[Parameter::new("x", TILEABLE), Parameter::new("reps", INT32)],
    infer,
)
.moves(evaluate)
.seen(ANEMLL)
.renewed(&[]);

/// # Shapes
/// `x: [size..]`, `reps` has one element per axis; the result is `[size * rep..]`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    one_per_axis("reps", ctx.tensor("reps")?, x.rank())?;
    let shape = match ctx.ints("reps")? {
        Some(reps) if reps.len() == x.rank() => {
            let refused =
                || InferError::operand("reps", format!("positive numbers that can repeat {x}"), format!("{reps:?}"));
            let repeat = |(size, rep): (&Dimension, &i64)| {
                let rep = u64::try_from(*rep).ok().filter(|rep| *rep > 0).ok_or_else(refused)?;
                match size.fixed() {
                    Some(size) => size.checked_mul(rep).map(Dimension::Fixed).ok_or_else(refused),
                    None => Ok(Dimension::Unknown),
                }
            };
            x.shape.iter().zip(&reps).map(repeat).collect::<Result<Vec<_>, _>>()?
        }
        Some(reps) => {
            return Err(InferError::operand(
                "reps",
                format!("{} elements", x.rank()),
                format!("{} elements", reps.len()),
            ));
        }
        None => vec![Dimension::Unknown; x.rank()],
    };
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let repeats = call.integers("reps")?;
    if repeats.len() != x.rank() {
        return Err(InferError::operand("reps", format!("{} elements", x.rank()), repeats.len()).into());
    }
    // Each axis becomes two: the repeats, which do not move, and the axis itself.
    let (mut pairs, mut strides, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for ((length, stride), repeat) in x.shape().iter().zip(row_major(x.shape())).zip(repeats.iter()) {
        let count = usize::try_from(*repeat)
            .map_err(|_| InferError::operand("reps", "counts that are not negative", repeat))?;
        pairs.extend([count, *length]);
        strides.extend([0, isize::try_from(stride).unwrap_or(isize::MAX)]);
        shape.push(count.saturating_mul(*length));
    }
    check_size(&shape)?;
    Ok(vec![x.strided(0, &pairs, &strides)?.reshaped(&shape)?])
}

impl FunctionBuilder {
    /// Repeats `x` as often as `reps` says along each axis.
    pub fn tile(&mut self, name: &str, x: &Var, reps: &[i32]) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("reps", Value::int32s(reps)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32};

    fn tile(x: &[i64], reps: &[i32]) -> Result<Vec<ValueType>, InferError> {
        Operands::default().with("x", fp16(x)).constant("reps", Value::int32s(reps)).infer(&DECL)
    }

    #[test]
    fn lengths_multiply() {
        assert_eq!(tile(&[8, 1, 2048, 128], &[1, 2, 1, 1]), Ok(vec![fp16(&[8, 2, 2048, 128])]));
        assert_eq!(tile(&[-1, 3], &[1, 2]), Ok(vec![fp16(&[-1, 6])]));
    }

    #[test]
    fn repetitions_are_positive_and_one_per_axis() {
        assert!(tile(&[2, 3], &[2]).is_err());
        assert!(tile(&[2, 3], &[2, 0]).is_err());
        assert!(tile(&[2, 3], &[2, -1]).is_err());
        assert!(tile(&[i64::MAX], &[3]).is_err());
    }

    #[test]
    fn repetitions_of_the_running_program_leave_the_lengths_open() {
        let x = Operands::default().with("x", fp16(&[2, 3]));
        assert_eq!(x.clone().with("reps", int32(&[2])).infer(&DECL), Ok(vec![fp16(&[-1, -1])]));
        assert!(x.with("reps", int32(&[3])).infer(&DECL).is_err());
    }
}
