//! `reshape`: the same elements in another shape.

use super::decl::{InferError, OpContext, OpDecl};
use super::evidence::ANEMLL;
use super::shape::{MAX_RANK, MOVED_X, positions};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "reshape",
    "Gives the elements of `x`, in their order, the shape `shape`.",
    &[MOVED_X, positions("shape")],
    infer,
)
.moves(evaluate)
.seen(ANEMLL)
.renewed(&[Opset::Ios17, Opset::Ios18]);

/// # Shapes
/// `shape` tells the result: -1, at most once, stands for what is left, and 0 for the length of `x` on the same axis.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let shape_type = ctx.tensor("shape")?;
    let shape = match ctx.ints("shape")? {
        Some(target) => target_shape(x, &target)?,
        None => unknown_shape(shape_type)?,
    };
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn unknown_shape(shape: &TensorType) -> Result<Vec<Dimension>, InferError> {
    let rank = match shape.shape.as_slice() {
        [Dimension::Fixed(rank)] => usize::try_from(*rank).ok().filter(|rank| *rank <= MAX_RANK),
        _ => None,
    };
    let rank =
        rank.ok_or_else(|| InferError::operand("shape", format!("a vector of up to {MAX_RANK} lengths"), shape))?;
    Ok(vec![Dimension::Unknown; rank])
}

fn target_shape(x: &TensorType, target: &[i64]) -> Result<Vec<Dimension>, InferError> {
    let refused = |expected: String| InferError::operand("shape", expected, format!("{target:?}"));
    let mut shape = Vec::with_capacity(target.len());
    let mut left_over = None;
    for (index, size) in target.iter().enumerate() {
        shape.push(match (*size, u64::try_from(*size)) {
            (0, _) if target.len() == x.rank() => x.shape.get(index).copied().unwrap_or(Dimension::Unknown),
            (0, _) => return Err(refused(format!("{} lengths where one is 0, as {x} has axes", x.rank()))),
            (_, Ok(size)) => Dimension::Fixed(size),
            (-1, _) if left_over.is_none() => {
                left_over = Some(index);
                Dimension::Unknown
            }
            _ => return Err(refused("lengths, of which one may be -1".to_owned())),
        });
    }
    let misfit = || refused(format!("a shape for the elements of {x}"));
    let product = |sizes: &mut dyn Iterator<Item = &Dimension>| -> Result<Option<u64>, InferError> {
        let mut product = Some(1_u64);
        for size in sizes {
            product = match (product, size.fixed()) {
                (Some(product), Some(size)) => Some(product.checked_mul(size).ok_or_else(misfit)?),
                _ => None,
            };
        }
        Ok(product)
    };
    let count = product(&mut x.shape.iter())?;
    let others = shape.iter().enumerate().filter(|(index, _)| Some(*index) != left_over).map(|(_, size)| size);
    if let (Some(count), Some(rest)) = (count, product(&mut others.into_iter())?) {
        match left_over.and_then(|index| shape.get_mut(index)) {
            Some(size) => {
                let quotient = count.checked_div(rest).filter(|size| size.checked_mul(rest) == Some(count));
                *size = Dimension::Fixed(quotient.ok_or_else(misfit)?);
            }
            None if rest != count => return Err(misfit()),
            None => {}
        }
    }
    Ok(shape)
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let target: Vec<i64> = call.integers("shape")?.iter().map(|size| i64::from(*size)).collect();
    let x = call.take("x")?;
    let shape: Vec<usize> = target_shape(&x.ty(), &target)?
        .into_iter()
        .filter_map(|length| length.fixed().and_then(|length| usize::try_from(length).ok()))
        .collect();
    Ok(vec![x.reshaped(&shape)?])
}

impl FunctionBuilder {
    /// Gives `x` another shape; one length may be -1, which stands for what is left.
    pub fn reshape(&mut self, name: &str, x: &Var, shape: &[i32]) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("shape", Value::int32s(shape)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, int32};

    fn reshape(x: &[i64], shape: &[i32]) -> Result<Vec<ValueType>, InferError> {
        Operands::default().with("x", fp16(x)).constant("shape", Value::int32s(shape)).infer(&DECL)
    }

    #[test]
    fn the_elements_stay_as_many() {
        assert_eq!(reshape(&[1, 4, 32], &[1, 4, 2, 16]), Ok(vec![fp16(&[1, 4, 2, 16])]));
        assert_eq!(reshape(&[1, 1], &[]), Ok(vec![fp16(&[])]));
        assert!(reshape(&[1, 4, 32], &[1, 4, 2, 15]).is_err());
    }

    #[test]
    fn one_length_may_be_left_over() {
        assert_eq!(reshape(&[1, 4, 32], &[1, -1, 16]), Ok(vec![fp16(&[1, 8, 16])]));
        assert!(reshape(&[1, 4, 32], &[1, -1, 15]).is_err());
        assert!(reshape(&[1, 4, 32], &[-1, -1, 16]).is_err());
        assert!(reshape(&[1, 4, 32], &[1, -2, 16]).is_err());
    }

    #[test]
    fn a_zero_copies_the_length_of_the_same_axis() {
        assert_eq!(reshape(&[1, 4, 32], &[0, 32, -1]), Ok(vec![fp16(&[1, 32, 4])]));
        assert_eq!(reshape(&[-1, 4, 32], &[0, 32, 4]), Ok(vec![fp16(&[-1, 32, 4])]));
        assert!(reshape(&[1, 4, 32], &[0, -1]).is_err());
        assert!(reshape(&[0, 4], &[0, -1]).is_err());
    }

    #[test]
    fn what_is_left_of_an_unknown_length_is_unknown() {
        assert_eq!(reshape(&[1, -1, 32], &[1, -1, 2, 16]), Ok(vec![fp16(&[1, -1, 2, 16])]));
    }

    #[test]
    fn products_that_overflow_are_refused() {
        assert!(reshape(&[i64::MAX, i64::MAX], &[-1]).is_err());
        assert!(reshape(&[4], &[i32::MAX, i32::MAX, i32::MAX, i32::MAX]).is_err());
    }

    #[test]
    fn a_shape_of_the_running_program_gives_its_rank() {
        let x = Operands::default().with("x", fp16(&[4]));
        assert_eq!(x.clone().with("shape", int32(&[2])).infer(&DECL), Ok(vec![fp16(&[-1, -1])]));
        assert!(x.clone().with("shape", int32(&[-1])).infer(&DECL).is_err());
        assert!(x.clone().with("shape", int32(&[i64::MAX])).infer(&DECL).is_err());
        assert!(x.with("shape", ValueType::State(TensorType::scalar(DataType::Int32))).infer(&DECL).is_err());
    }
}
