//! `select`: elements of one tensor or another, by a condition.

use super::decl::{BOOL, Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results, pending};
use super::shape::{broadcast, same_dtype};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

const CHOICES: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Bool, DataType::Int32]);

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "select",
    doc: "Takes the element of `a` where `cond` holds and of `b` elsewhere.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("cond", BOOL),
        Parameter::new("a", CHOICES).group('T'),
        Parameter::new("b", CHOICES).group('T'),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

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
