//! `read_state`: the tensor that a state holds.

use super::decl::{Domain, Effect, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::special;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    special::READ_STATE,
    "Gives the tensor that the state `input` holds.",
    &[Parameter::new("input", Domain::State)],
    infer,
)
.moves(evaluate)
.since(Opset::Ios18)
.effect(Effect::ReadsState)
.seen(ANEMLL);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    Ok(vec![state(ctx)?.clone().into()])
}

/// The type of the tensor in the state that is the operand `input`.
pub(super) fn state<'a>(ctx: &OpContext<'a>) -> Result<&'a TensorType, InferError> {
    match ctx.required("input")?.ty {
        ValueType::State(tensor) => Ok(tensor),
        other => Err(InferError::operand("input", "a state", other)),
    }
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    Ok(vec![call.read_state()?])
}

impl FunctionBuilder {
    /// Reads `state`.
    pub fn read_state(&mut self, name: &str, state: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("input", state).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16};

    #[test]
    fn the_result_is_the_tensor_in_the_state() {
        let state = ValueType::State(TensorType::fixed(DataType::Float16, &[2, 8]));
        assert_eq!(Operands::default().with("input", state).infer(&DECL), Ok(vec![fp16(&[2, 8])]));
    }

    #[test]
    fn a_tensor_is_no_state() {
        assert!(Operands::default().with("input", fp16(&[2, 8])).infer(&DECL).is_err());
    }
}
