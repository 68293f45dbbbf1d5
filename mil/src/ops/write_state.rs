//! `write_state`: puts a tensor into a state.

use super::decl::{Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results};
use super::read_state::state;
use super::shape::compatible_shapes;
use super::special;
use crate::builder::{BuildError, FunctionBuilder, Var};
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
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let state = state(ctx)?;
    let data = ctx.tensor("data")?;
    if data.dtype != state.dtype || !compatible_shapes(&data.shape, &state.shape) {
        return Err(InferError::operand("data", state.to_string(), data));
    }
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
