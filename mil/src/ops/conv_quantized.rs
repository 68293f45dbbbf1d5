//! `conv_quantized`: a convolution whose weight is stored in few bits, with a line that makes floats of it.

use super::conv_patches::convolution_with;
use super::decl::{Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::shape::{known_int_or, known_string_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::types::ValueType;

const BYTES: Domain = Domain::OneOf(&[DataType::UInt8]);

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "conv_quantized",
    "Convolves `x` with `quant_scale * weight + quant_bias` and adds `bias`.",
    &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("weight", BYTES),
        Parameter::new("bias", BYTES).constant().optional(),
        Parameter::new("quantization_type", STRING).constant(),
        Parameter::new("nbits", INT32).constant().defaulted(),
        Parameter::new("quant_scale", FLOATS).group('T').constant(),
        Parameter::new("quant_bias", FLOATS).group('T').constant(),
        Parameter::new("strides", INT32).constant().defaulted(),
        Parameter::new("pad_type", STRING).constant().defaulted(),
        Parameter::new("pad", INT32).constant().defaulted(),
        Parameter::new("dilations", INT32).constant().defaulted(),
        Parameter::new("groups", INT32).constant().defaulted(),
    ],
    infer,
)
.computes(evaluate);

/// # Shapes
/// As of `conv`; `quant_scale` and `quant_bias` are one number, or one for each output channel.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let kind = known_string_or(ctx, "quantization_type", "linear")?;
    if !["linear", "lut"].contains(&kind) {
        return Err(InferError::operand("quantization_type", "`linear` or `lut`", format!("`{kind}`")));
    }
    let bits = known_int_or(ctx, "nbits", 8)?;
    if !(1..=8).contains(&bits) {
        return Err(InferError::operand("nbits", "1 to 8", bits));
    }
    super::conv::infer(ctx)
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    if call.string_or("quantization_type", "linear")? != "linear" {
        return Err(EvaluateError::Unsupported("`quantization_type` other than `linear`".to_owned()));
    }
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    let (scale, shift) = (call.floats("quant_scale")?, call.floats("quant_bias")?);
    let channels = weight.shape().first().copied().unwrap_or(0);
    let mut values = weight.to_numbers()?;
    let row = values.len().checked_div(channels).unwrap_or(0).max(1);
    for (channel, values) in values.chunks_mut(row).enumerate() {
        let of = |factors: &[f32]| factors.get(channel).or(factors.first()).copied().unwrap_or(f32::NAN);
        let (scale, shift) = (of(&scale), of(&shift));
        for value in values {
            *value = *value * scale + shift;
        }
    }
    let dense = Tensor::floats(x.dtype(), weight.shape(), values)?;
    let bias = call.optional("bias").map(Tensor::to_numbers).transpose()?.unwrap_or_default();
    convolution_with(call, x, &dense, &bias)
}
