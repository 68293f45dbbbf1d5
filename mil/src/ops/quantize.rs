//! `quantize`: rounding to 8-bit integers.

use super::decl::{FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::MADERIX;
use super::quantization::{BYTES, per_index, scale_of, vector_along};
use super::shape::known_string_or;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "quantize",
    "Divides `input` by `scale`, adds `zero_point` and rounds to an 8-bit integer.",
    &[
        Parameter::new("input", FLOATS).group('S'),
        Parameter::new("zero_point", BYTES).constant().optional(),
        Parameter::new("scale", FLOATS).constant().group('S'),
        Parameter::new("axis", INT32).constant().optional(),
        Parameter::new("output_dtype", STRING).constant(),
    ],
    infer,
)
.moves(evaluate)
.since(Opset::Ios17)
.seen(MADERIX);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let input = ctx.tensor("input")?;
    scale_of(ctx, input)?;
    ctx.required("output_dtype")?;
    let dtype = output_dtype(known_string_or(ctx, "output_dtype", "")?)?;
    Ok(vec![TensorType { dtype, shape: input.shape.clone() }.into()])
}

fn output_dtype(name: &str) -> Result<DataType, InferError> {
    match name {
        "int8" => Ok(DataType::Int8),
        "uint8" => Ok(DataType::UInt8),
        other => Err(InferError::operand("output_dtype", "`int8` or `uint8`", format!("`{other}`"))),
    }
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let dtype = output_dtype(call.string_or("output_dtype", "")?)?;
    let input = call.tensor("input")?;
    let scale = call.tensor("scale")?;
    let axis = if scale.rank() == 0 { 0 } else { call.axis_or("axis", 0, input.rank())? };
    let vectors = [scale, call.optional("zero_point").unwrap_or(scale)];
    let (blocks, count) = vector_along(input, axis, vectors)?;
    let scale = per_index(call, "scale", count)?;
    let zero_point = per_index(call, "zero_point", count)?;
    let (lowest, highest) = if dtype == DataType::Int8 { (-128.0, 127.0) } else { (0.0, 255.0) };
    let values = call.floats("input")?;
    let mut output = Vec::with_capacity(values.len());
    blocks.for_each_run(0, values.len(), |block, first, length| {
        let scale = scale.get(block).copied().unwrap_or(f32::NAN);
        let zero_point = zero_point.get(block).copied().unwrap_or(0.0);
        let quantized = |value: &f32| ((value / scale).round_ties_even() + zero_point).clamp(lowest, highest);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 8 bits; what is not a number becomes 0")]
        output.extend(values.iter().skip(first).take(length).map(|value| quantized(value) as i32));
    });
    Ok(vec![Tensor::integers(dtype, input.shape(), output)?])
}

impl FunctionBuilder {
    /// `x` as int8, the multiple of `scale` that is nearest.
    ///
    /// # Shapes
    /// `scale` is a scalar of the type of `x`; the result has the shape of `x`.
    pub fn quantize_int8(&mut self, name: &str, x: &Var, scale: Value) -> Result<Var, BuildError> {
        let call = self.call(&DECL, name).operand("input", x).constant("scale", scale);
        call.constant("output_dtype", Value::string("int8")).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, tensor};

    #[test]
    fn the_result_has_the_type_that_is_named() {
        let operands = || Operands::default().with("input", fp16(&[4, 8])).with("scale", fp16(&[4]));
        let quantized = operands().constant("output_dtype", Value::string("uint8")).infer(&DECL);
        assert_eq!(quantized, Ok(vec![tensor(DataType::UInt8, &[4, 8])]));
        assert!(operands().constant("output_dtype", Value::string("int32")).infer(&DECL).is_err());
    }
}
