//! `linear`: a dense layer.

use super::decl::{Effect, InferError, NUMBERS, OpContext, OpDecl, Parameter, Results, pending};
use super::shape::compatible;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "linear",
    doc: "Multiplies the last axis of `x` with the transposed `weight` and adds `bias`.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", NUMBERS),
        Parameter::new("weight", NUMBERS).group('U').constant(),
        Parameter::new("bias", NUMBERS).group('U').constant().defaulted(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

/// # Shapes
/// `x: [.., in]`, `weight: [out, in]`, `bias: [out]`; the result is `[.., out]`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let weight = ctx.tensor("weight")?;
    let &[out, inner] = weight.shape.as_slice() else {
        return Err(InferError::operand("weight", "a tensor of rank 2", weight));
    };
    let Some((last, outer)) = x.shape.split_last() else {
        return Err(InferError::operand("x", "a tensor of rank 1 or more", x));
    };
    if !compatible(*last, inner) {
        return Err(InferError::operand("weight", format!("{last} input channels"), weight));
    }
    if let Some(bias) = ctx.optional("bias") {
        let expected = TensorType { dtype: weight.dtype, shape: vec![out] };
        if bias.ty.as_tensor() != Some(&expected) {
            return Err(InferError::operand("bias", expected.to_string(), bias.ty));
        }
    }
    let mut shape = outer.to_vec();
    shape.push(out);
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};

    #[test]
    fn the_last_axis_becomes_the_outputs() {
        let operands = Operands::default().with("x", fp16(&[1, -1, 8])).with("weight", fp16(&[4, 8]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[1, -1, 4])]));
    }

    #[test]
    fn channels_and_bias_must_fit() {
        let operands = || Operands::default().with("x", fp16(&[1, 8]));
        assert!(operands().with("weight", fp16(&[4, 7])).infer(&DECL).is_err());
        assert!(operands().with("weight", fp16(&[4])).infer(&DECL).is_err());
        assert!(operands().with("weight", fp16(&[4, 8])).with("bias", fp16(&[8])).infer(&DECL).is_err());
    }
}
