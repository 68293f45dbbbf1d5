//! `quantize`: rounding to 8-bit integers.

use super::decl::{Effect, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results, STRING, pending};
use super::quantization::{BYTES, scale_of};
use super::shape::known_string_or;
use crate::dtype::DataType;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "quantize",
    doc: "Divides `input` by `scale`, adds `zero_point` and rounds to an 8-bit integer.",
    since: Opset::Ios17,
    parameters: &[
        Parameter::new("input", FLOATS).group('S'),
        Parameter::new("zero_point", BYTES).constant().optional(),
        Parameter::new("scale", FLOATS).constant().group('S'),
        Parameter::new("axis", INT32).constant().optional(),
        Parameter::new("output_dtype", STRING).constant(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let input = ctx.tensor("input")?;
    scale_of(ctx, input)?;
    ctx.required("output_dtype")?;
    let dtype = match known_string_or(ctx, "output_dtype", "")? {
        "int8" => DataType::Int8,
        "uint8" => DataType::UInt8,
        other => return Err(InferError::operand("output_dtype", "`int8` or `uint8`", format!("`{other}`"))),
    };
    Ok(vec![TensorType { dtype, shape: input.shape.clone() }.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, tensor};
    use crate::value::Value;

    #[test]
    fn the_result_has_the_type_that_is_named() {
        let operands = || Operands::default().with("input", fp16(&[4, 8])).with("scale", fp16(&[4]));
        let quantized = operands().constant("output_dtype", Value::string("uint8")).infer(&DECL);
        assert_eq!(quantized, Ok(vec![tensor(DataType::UInt8, &[4, 8])]));
        assert!(operands().constant("output_dtype", Value::string("int32")).infer(&DECL).is_err());
    }
}
