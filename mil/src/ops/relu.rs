//! `relu`: rectified linear unit.

use super::decl::{Effect, OpDecl, Results};
use super::elementwise::{FLOAT_X, larger, like_x, map_floats};
use super::evidence::SILERO;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "relu",
    doc: "Replaces what is negative in `x` by 0.",
    since: Opset::Ios15,
    parameters: FLOAT_X,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: like_x,
    evaluate: Evaluate::Computes(|call| map_floats(call, |x| larger(x, 0.0))),
    evidence: SILERO,
    renewed: &[Opset::Ios16, Opset::Ios18],
};

impl FunctionBuilder {
    /// Replaces what is negative in `x` by 0.
    pub fn relu(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};

    #[test]
    fn the_result_is_like_x() {
        let x = fp16(&[1, -1, 3]);
        assert_eq!(Operands::default().with("x", x.clone()).infer(&DECL), Ok(vec![x]));
    }

    #[test]
    fn x_must_be_given() {
        assert!(Operands::default().infer(&DECL).is_err());
    }
}
