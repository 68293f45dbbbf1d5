//! `dequantize`: 8-bit integers as numbers.

use super::decl::{Effect, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results, pending};
use super::quantization::{BYTES, scale_of};
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "dequantize",
    doc: "Subtracts `zero_point` from `input` and multiplies by `scale`.",
    since: Opset::Ios17,
    parameters: &[
        Parameter::new("input", BYTES).group('D'),
        Parameter::new("zero_point", BYTES).constant().optional().group('D'),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("axis", INT32).constant().optional(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let input = ctx.tensor("input")?;
    let scale = scale_of(ctx, input)?;
    Ok(vec![TensorType { dtype: scale.dtype, shape: input.shape.clone() }.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, tensor};

    #[test]
    fn the_result_has_the_type_of_the_scale() {
        let operands = Operands::default().with("input", tensor(DataType::Int8, &[4, 8])).with("scale", fp16(&[]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[4, 8])]));
    }
}
