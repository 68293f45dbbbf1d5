//! `identity`: its operand under another name.

use super::decl::{Domain, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl =
    OpDecl::new("identity", "Gives `x` another name.", &[Parameter::new("x", Domain::Any)], infer)
        .moves(|call| Ok(vec![call.take("x")?]))
        .seen(ANEMLL)
        .renewed(&[]);

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
