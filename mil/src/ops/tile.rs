//! `tile`: a tensor repeated along its axes.

use super::decl::{Domain, Effect, INT32, InferError, OpContext, OpDecl, Parameter, Results};
use super::shape::one_per_axis;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const TILEABLE: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int32, DataType::Bool]);

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "tile",
    doc: "Repeats `x` as often as `reps` says along each axis.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", TILEABLE), Parameter::new("reps", INT32)],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
};

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

impl FunctionBuilder {
    /// Repeats `x` as often as `reps` says along each axis.
    pub fn tile(&mut self, name: &str, x: &Var, reps: &[i32]) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("reps", Value::int32s(reps)).single()
    }
}
