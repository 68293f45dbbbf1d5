//! `conv`: convolution over one to three spatial axes.

use super::conv_patches::convolution;

use super::decl::{Change, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::SILERO;
use super::window::spatial_size;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::cost::{CallTypes, product};
use crate::evaluate::{Call, EvaluateError, Matrix, Projection, Tensor, check_size};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "conv",
    "Convolves `x` with `weight` over its spatial axes and adds `bias`.",
    &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("weight", FLOATS).group('T').changes(&[Change::Group(Opset::Ios17, 'U')]),
        Parameter::new("bias", FLOATS)
            .group('T')
            .constant()
            .optional()
            .changes(&[Change::Group(Opset::Ios17, 'U'), Change::Variable(Opset::Ios17)]),
        Parameter::new("strides", INT32).constant().defaulted(),
        Parameter::new("pad_type", STRING).constant().defaulted(),
        Parameter::new("pad", INT32).constant().defaulted(),
        Parameter::new("dilations", INT32).constant().defaulted(),
        Parameter::new("groups", INT32).constant().defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(SILERO);

/// # Shapes
/// `x: [batch, in_channels, spatial..]`, `weight: [out_channels, in_channels / groups, kernel..]`,
/// `bias: [out_channels]`; the result is `[batch, out_channels, spatial..]`.
pub(super) fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let weight = ctx.tensor("weight")?;
    let rank = x.rank();
    if !(3..=5).contains(&rank) {
        return Err(InferError::operand("x", "a tensor of rank 3 to 5", x));
    }
    if weight.rank() != rank {
        return Err(InferError::operand("weight", format!("a tensor of rank {rank}, as `x`"), weight));
    }
    let groups = ctx.int_or("groups", 1)?;
    let groups = u64::try_from(groups).ok().filter(|groups| *groups > 0);
    let groups = groups.ok_or_else(|| InferError::operand("groups", "a positive integer", ctx_int(ctx, "groups")))?;
    if let (Some(channels), Some(per_group)) = (x.shape[1].fixed(), weight.shape[1].fixed())
        && Some(channels) != per_group.checked_mul(groups)
    {
        return Err(InferError::operand("weight", format!("{channels} input channels in {groups} groups"), weight));
    }
    if let Some(bias) = ctx.optional("bias") {
        let expected = TensorType { dtype: weight.dtype, shape: vec![weight.shape[0]] };
        if bias.ty.as_tensor() != Some(&expected) {
            return Err(InferError::operand("bias", expected.to_string(), bias.ty));
        }
    }
    let mut shape = vec![x.shape[0], weight.shape[0]];
    for axis in 0..rank - 2 {
        shape.push(spatial_size(ctx, axis, x.shape[axis + 2], weight.shape[axis + 2], false)?);
    }
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn ctx_int(ctx: &OpContext<'_>, parameter: &str) -> i64 {
    ctx.int_or(parameter, 0).unwrap_or(0)
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    if is_projection(call, weight)? { projection(call, x, weight) } else { convolution(call, x, weight) }
}

/// Whether every output depends on the inputs at its own place only: a kernel of ones without strides, padding and groups.
fn is_projection(call: &Call<'_>, weight: &Tensor) -> Result<bool, EvaluateError> {
    let all = |parameter: &str, value: i32| -> Result<bool, EvaluateError> {
        Ok(call.optional_integers(parameter)?.is_none_or(|values| values.iter().all(|given| *given == value)))
    };
    let points = weight.shape().iter().skip(2).all(|length| *length == 1);
    Ok(points && call.int_or("groups", 1)? == 1 && all("strides", 1)? && all("pad", 0)?)
}

fn projection(call: &Call<'_>, x: &Tensor, weight: &Tensor) -> Result<Vec<Tensor>, EvaluateError> {
    let ([batch, channels, spatial @ ..], [outputs, inputs, ..]) = (x.shape(), weight.shape()) else {
        return Err(InferError::operand("x", "a tensor of rank 3 to 5", x.ty()).into());
    };
    if channels != inputs {
        return Err(InferError::operand("weight", format!("{channels} input channels"), weight.ty()).into());
    }
    let places: usize = spatial.iter().product();
    let mut shape = vec![*batch, *outputs];
    shape.extend(spatial);
    let mut output = vec![0.0; check_size(&shape)?];
    let bias = call.optional("bias").map(|_| call.floats("bias")).transpose()?.unwrap_or_default();
    let floats = call.floats("x")?;
    let pairs = output.chunks_mut((outputs * places).max(1)).zip(floats.chunks((channels * places).max(1)));
    for (output, x) in pairs {
        let x = Matrix::row_major(x, [*channels, places]);
        Projection { weight, start: 0, x, bias: &bias, numerics: call.numerics() }.write(output)?;
    }
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

/// Every element of the result is a product over one kernel.
pub(crate) fn multiplications(types: &CallTypes<'_>) -> Option<u64> {
    product(&types.result_shape()?)?.checked_mul(product(types.shape("weight")?.get(1..)?)?)
}

impl FunctionBuilder {
    /// A 1×1 convolution, which is how linear layers run on the Neural Engine.
    ///
    /// # Shapes
    /// `x: [1, in_channels, 1, width]`, `weight: [out_channels, in_channels, 1, 1]`, `bias: [out_channels]`; the result
    /// is `[1, out_channels, 1, width]`.
    pub fn conv1x1(&mut self, name: &str, x: &Var, weight: &Var, bias: Option<&Var>) -> Result<Var, BuildError> {
        let mut call = self
            .call(&DECL, name)
            .operand("x", x)
            .operand("weight", weight)
            .constant("strides", Value::int32s(&[1, 1]))
            .constant("pad_type", Value::string("valid"))
            .constant("pad", Value::int32s(&[0, 0, 0, 0]))
            .constant("dilations", Value::int32s(&[1, 1]))
            .constant("groups", Value::int32(1));
        if let Some(bias) = bias {
            call = call.operand("bias", bias);
        }
        call.single()
    }
}
