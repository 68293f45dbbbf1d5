//! `add`: elementwise sum.

use super::decl::{Effect, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, map_x_y};
use super::evidence::SILERO;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "add",
    doc: "Adds `x` and `y` element by element.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: broadcast_x_y,
    evaluate: Evaluate::Computes(|call| map_x_y(call, |x, y| x + y, i32::wrapping_add)),
    evidence: SILERO,
    renewed: RENEWED,
};

impl FunctionBuilder {
    /// Adds `x` and `y` element by element.
    pub fn add(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
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
        assert_eq!(operands.infer(&DECL), Ok(vec![tensor(DataType::Float16, &[2, 3, 4])]));
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let shapes = Operands::default().with("x", fp16(&[2, 4])).with("y", fp16(&[3, 4]));
        assert!(shapes.infer(&DECL).is_err());
        let types = Operands::default().with("x", fp16(&[2, 4])).with("y", int32(&[2, 4]));
        assert!(types.infer(&DECL).is_err());
    }
}
