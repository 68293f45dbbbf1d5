//! `select`: elements of one tensor or another, by a condition.

use super::decl::{BOOL, Domain, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::shape::{broadcast, same_dtype};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, broadcast_shape, stretched};
use crate::types::{TensorType, ValueType};

const CHOICES: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Bool, DataType::Int32]);

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "select",
    "Takes the element of `a` where `cond` holds and of `b` elsewhere.",
    &[Parameter::new("cond", BOOL), Parameter::new("a", CHOICES).group('T'), Parameter::new("b", CHOICES).group('T')],
    infer,
)
.moves(evaluate)
.seen(ANEMLL)
.renewed(&[]);

/// # Shapes
/// All three operands broadcast.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let cond = ctx.tensor("cond")?;
    let a = ctx.tensor("a")?;
    let b = ctx.tensor("b")?;
    if cond.dtype != DataType::Bool {
        return Err(InferError::operand("cond", "booleans", cond));
    }
    same_dtype("b", a, b)?;
    let choices = TensorType { dtype: a.dtype, shape: broadcast(a, b)? };
    Ok(vec![TensorType { dtype: a.dtype, shape: broadcast(cond, &choices)? }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (cond, a, b) = (call.tensor("cond")?, call.tensor("a")?, call.tensor("b")?);
    let shape = broadcast_shape(cond.shape(), &broadcast_shape(a.shape(), b.shape())?)?;
    let cond = stretched(call.bools("cond")?, cond.shape(), &shape);
    let result = match a.elements() {
        Elements::Bools(a_values) => Tensor::bools(&shape, chosen(&cond, (a_values, a), (b.as_bools()?, b), &shape))?,
        _ if a.dtype().is_float() => {
            let values = chosen(&cond, (&a.as_floats()?, a), (&b.as_floats()?, b), &shape);
            Tensor::floats(a.dtype(), &shape, values)?
        }
        _ => {
            let values = chosen(&cond, (&a.as_integers()?, a), (&b.as_integers()?, b), &shape);
            Tensor::integers(a.dtype(), &shape, values)?
        }
    };
    Ok(vec![result])
}

/// The elements of `a` where `cond` holds and of `b` elsewhere, both stretched to `shape`.
fn chosen<T: Copy>(cond: &[bool], a: (&[T], &Tensor), b: (&[T], &Tensor), shape: &[usize]) -> Vec<T> {
    let a = stretched(a.0, a.1.shape(), shape);
    let b = stretched(b.0, b.1.shape(), shape);
    cond.iter().zip(a.iter().zip(b.iter())).map(|(cond, (a, b))| if *cond { *a } else { *b }).collect()
}

impl FunctionBuilder {
    /// Takes the element of `a` where `cond` holds and of `b` elsewhere.
    pub fn select(&mut self, name: &str, cond: &Var, a: &Var, b: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("cond", cond).operand("a", a).operand("b", b).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32, tensor};

    fn select(cond: &[i64], a: ValueType, b: ValueType) -> Result<Vec<ValueType>, InferError> {
        Operands::default().with("cond", tensor(DataType::Bool, cond)).with("a", a).with("b", b).infer(&DECL)
    }

    #[test]
    fn all_operands_broadcast() {
        assert_eq!(select(&[1, -1], int32(&[1, -1]), int32(&[1, -1])), Ok(vec![int32(&[1, -1])]));
        assert_eq!(select(&[2, 1], fp16(&[3]), fp16(&[])), Ok(vec![fp16(&[2, 3])]));
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        assert!(select(&[2], fp16(&[3]), fp16(&[3])).is_err());
        assert!(select(&[3], fp16(&[3]), int32(&[3])).is_err());
        let operands = Operands::default().with("cond", fp16(&[3])).with("a", fp16(&[3])).with("b", fp16(&[3]));
        assert!(operands.infer(&DECL).is_err());
    }
}
