//! `softmax`: exponentials over their sum along an axis.

use super::decl::{FLOATS, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::shape::axis_or;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis, softmax};
use crate::opset::Opset;
use crate::types::ValueType;
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "softmax",
    "Divides the exponentials of `x` by their sum along `axis`.",
    &[Parameter::new("x", FLOATS), Parameter::new("axis", INT32).constant().defaulted()],
    infer,
)
.computes(evaluate)
.seen(ANEMLL)
.renewed(&[Opset::Ios16, Opset::Ios18]);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    axis_or(ctx, "axis", -1, x.rank())?;
    Ok(vec![x.clone().into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let mut x = call.take("x")?;
    let axis = call.axis_or("axis", -1, x.rank())?;
    let [_, length, inner] = along_axis(x.shape(), axis);
    softmax(x.floats_mut()?, length, inner);
    Ok(vec![x])
}

impl FunctionBuilder {
    /// Divides the exponentials of `x` by their sum along `axis`.
    pub fn softmax(&mut self, name: &str, x: &Var, axis: i32) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("axis", Value::int32(axis)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};

    #[test]
    fn the_result_is_like_x() {
        let x = fp16(&[1, 16, 1, -1]);
        assert_eq!(Operands::default().with("x", x.clone()).infer(&DECL), Ok(vec![x]));
    }

    #[test]
    fn the_axis_must_be_of_x() {
        assert!(Operands::default().with("x", fp16(&[])).infer(&DECL).is_err());
        let operands = Operands::default().with("x", fp16(&[2])).constant("axis", Value::int32(1));
        assert!(operands.infer(&DECL).is_err());
    }
}
