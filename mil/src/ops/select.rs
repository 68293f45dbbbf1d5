//! `select`: elements of one tensor or another, by a condition.

use super::decl::{BOOL, Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results};
use super::shape::{broadcast, same_dtype};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
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
