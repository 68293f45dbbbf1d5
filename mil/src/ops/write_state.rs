//! `write_state`: puts a tensor into a state.

use super::decl::{Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results};
use super::read_state::state;
use super::shape::compatible_shapes;
use super::special;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, Evaluate, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: special::WRITE_STATE,
    doc: "Puts `data` into the state `input`.",
    since: Opset::Ios18,
    parameters: &[Parameter::new("input", Domain::State), Parameter::new("data", Domain::Any)],
    results: Results::Exactly(0),
    effect: Effect::WritesState,
    infer,
    evaluate: Evaluate::Moves(evaluate),
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let state = state(ctx)?;
    let data = ctx.tensor("data")?;
    if data.dtype != state.dtype || !compatible_shapes(&data.shape, &state.shape) {
        return Err(InferError::operand("data", state.to_string(), data));
    }
    Ok(Vec::new())
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.take("data")?;
    call.write_state(data)?;
    Ok(Vec::new())
}

impl FunctionBuilder {
    /// Puts `data` into `state`.
    pub fn write_state(&mut self, state: &Var, data: &Var) -> Result<(), BuildError> {
        self.write_state_called(&format!("{}_write_state", data.name), state, data)
    }

    /// Puts `data` into `state` and reads it back, as Core ML's own converter does; later ops go on with the result.
    pub fn update_state(&mut self, name: &str, state: &Var, data: &Var) -> Result<Var, BuildError> {
        self.write_state_called(&format!("{name}_write_state"), state, data)?;
        self.read_state(name, state)
    }

    fn write_state_called(&mut self, name: &str, state: &Var, data: &Var) -> Result<(), BuildError> {
        self.call(&DECL, name).operand("input", state).operand("data", data).finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, int32};
    use crate::types::TensorType;

    fn state() -> ValueType {
        ValueType::State(TensorType::fixed(DataType::Float16, &[2, 8]))
    }

    #[test]
    fn it_has_no_result() {
        let operands = Operands::default().with("input", state());
        assert_eq!(operands.clone().with("data", fp16(&[2, 8])).infer(&DECL), Ok(vec![]));
        assert_eq!(operands.with("data", fp16(&[2, -1])).infer(&DECL), Ok(vec![]));
    }

    #[test]
    fn data_of_another_type_than_the_state_is_refused() {
        let operands = Operands::default().with("input", state());
        assert!(operands.clone().with("data", fp16(&[2, 4])).infer(&DECL).is_err());
        assert!(operands.clone().with("data", int32(&[2, 8])).infer(&DECL).is_err());
        assert!(operands.with("data", state()).infer(&DECL).is_err());
    }

    #[test]
    fn an_update_is_a_write_and_then_a_read() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let cache = builder.input("cache", state());
        let data = builder.read_state("data", &cache).expect("a state");
        let updated = builder.update_state("updated", &cache, &data).expect("of one type");
        assert_eq!(updated.ty, fp16(&[2, 8]));
        let function = builder.finish(&[&updated]);
        let ops: Vec<_> = function.block.operations.iter().map(|operation| operation.op.as_str()).collect();
        assert_eq!(ops, ["read_state", "write_state", "read_state"]);
        let write = &function.block.operations[1];
        assert_eq!(write.display_name(), Some("updated_write_state"));
        assert!(write.outputs.is_empty());
    }
}
