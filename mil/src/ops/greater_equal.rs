//! `greater_equal`: elementwise comparison.

use std::cmp::Ordering;

use super::decl::{Effect, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, compare_x_y, order_x_y};
use super::evidence::ANEMLL;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "greater_equal",
    doc: "Tells where `x` is at least `y`.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: compare_x_y,
    evaluate: Evaluate::Moves(|call| {
        order_x_y(call, |order| matches!(order, Some(Ordering::Greater | Ordering::Equal)))
    }),
    evidence: ANEMLL,
    renewed: RENEWED,
};

impl FunctionBuilder {
    /// Tells where `x` is at least `y`.
    pub fn greater_equal(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).operand("y", y).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, int32, tensor};

    #[test]
    fn operands_broadcast() {
        let operands = Operands::default().with("x", fp16(&[2, 1, 4])).with("y", fp16(&[3, -1]));
        assert_eq!(operands.infer(&DECL), Ok(vec![tensor(DataType::Bool, &[2, 3, 4])]));
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let shapes = Operands::default().with("x", fp16(&[2, 4])).with("y", fp16(&[3, 4]));
        assert!(shapes.infer(&DECL).is_err());
        let types = Operands::default().with("x", fp16(&[2, 4])).with("y", int32(&[2, 4]));
        assert!(types.infer(&DECL).is_err());
    }
}
