//! `identity`: its operand under another name.

use super::decl::{Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results};
use super::evidence::ANEMLL;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "identity",
    doc: "Gives `x` another name.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", Domain::Any)],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Moves(|call| Ok(vec![call.take("x")?])),
    evidence: ANEMLL,
    renewed: &[],
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    match ctx.required("x")?.ty {
        state @ ValueType::State(_) => Err(InferError::operand("x", "a value other than a state", state)),
        other => Ok(vec![other.clone()]),
    }
}

impl FunctionBuilder {
    /// Gives `x` another name.
    pub fn identity(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, int32};
    use crate::types::TensorType;

    #[test]
    fn the_type_stays() {
        assert_eq!(Operands::default().with("x", int32(&[1, -1])).infer(&DECL), Ok(vec![int32(&[1, -1])]));
    }

    #[test]
    fn a_state_has_one_name() {
        let state = ValueType::State(TensorType::fixed(DataType::Float16, &[2]));
        assert!(Operands::default().with("x", state).infer(&DECL).is_err());
    }
}
