//! `dequantize`: 8-bit integers as numbers.

use super::decl::{FLOATS, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::MADERIX;
use super::quantization::{BYTES, per_index, scale_of, vector_along};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, Dequantized, EvaluateError, Expand, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "dequantize",
    "Subtracts `zero_point` from `input` and multiplies by `scale`.",
    &[
        Parameter::new("input", BYTES).group('D'),
        Parameter::new("zero_point", BYTES).constant().optional().group('D'),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("axis", INT32).constant().optional(),
    ],
    infer,
)
.computes(evaluate)
.since(Opset::Ios17)
.seen(MADERIX);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let input = ctx.tensor("input")?;
    let scale = scale_of(ctx, input)?;
    Ok(vec![TensorType { dtype: scale.dtype, shape: input.shape.clone() }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let input = call.take("input")?;
    let scale = call.tensor("scale")?;
    let dtype = scale.dtype();
    let axis = if scale.rank() == 0 { 0 } else { call.axis_or("axis", 0, input.rank())? };
    let vectors = [scale, call.optional("zero_point").unwrap_or(scale)];
    let (blocks, count) = vector_along(&input, axis, vectors)?;
    let scale = per_index(call, "scale", count)?;
    let zero_point = per_index(call, "zero_point", count)?;
    let shape = input.shape().to_vec();
    let mut output = vec![0.0; input.count()];
    Dequantized::new(input, blocks, scale, zero_point, (dtype, call.numerics()))?.expand(0, &mut output);
    Ok(vec![Tensor::floats(dtype, &shape, output)?])
}

impl FunctionBuilder {
    /// Integers times `scale`.
    ///
    /// # Shapes
    /// `scale` is a scalar, whose type the result has.
    pub fn dequantize(&mut self, name: &str, x: &Var, scale: Value) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("input", x).constant("scale", scale).single()
    }
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
