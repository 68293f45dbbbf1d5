//! `constexpr_affine_dequantize`: a weight stored as 8-bit integers, in the form before ios18.
//!
//! Its parameters are attributes.

use std::sync::Arc;

use super::decl::{Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::quantization::{per_index, vector_along};
use super::shape::{axis_or, compatible};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, Dequantized, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{TensorData, Value, ValueData};

const BYTES: Domain = Domain::OneOf(&[DataType::Int8, DataType::UInt8]);
const ZERO_POINTS: Domain = Domain::OneOf(&[DataType::Int8, DataType::UInt8, DataType::Float32]);

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "constexpr_affine_dequantize",
    "Computes `scale * (quantized_data - zero_point)`.",
    &[
        Parameter::new("quantized_data", BYTES).constant(),
        Parameter::new("zero_point", ZERO_POINTS).constant(),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("axis", INT32).constant(),
    ],
    infer,
)
.computes(evaluate)
.since(Opset::Ios16)
.seen(SILERO)
.renewed(&[Opset::Ios16]);

/// # Shapes
/// `quantized_data: [size..]`; `scale` and `zero_point` are scalars, or vectors as long as `axis` of `quantized_data`. The
/// result is like `quantized_data`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let data = ctx.tensor("quantized_data")?;
    let scale = ctx.tensor("scale")?;
    ctx.required("axis")?;
    let axis = axis_or(ctx, "axis", 0, data.rank())?;
    let size = data.shape.get(axis).copied().unwrap_or(Dimension::Unknown);
    for (parameter, given) in [("scale", scale), ("zero_point", ctx.tensor("zero_point")?)] {
        let fits = match given.shape.as_slice() {
            [] => true,
            [length] => compatible(*length, size),
            _ => false,
        };
        if !fits {
            return Err(InferError::operand(parameter, format!("a scalar or a vector of {size} elements"), given));
        }
    }
    Ok(vec![TensorType { dtype: scale.dtype, shape: data.shape.clone() }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.tensor("quantized_data")?.clone();
    let dtype = call.tensor("scale")?.dtype();
    let axis = call.axis_or("axis", 0, data.rank())?;
    let (blocks, count) = vector_along(&data, axis, [call.tensor("scale")?, call.tensor("zero_point")?])?;
    let scale = per_index(call, "scale", count)?;
    let offset = per_index(call, "zero_point", count)?;
    let shape = data.shape().to_vec();
    let weight = Dequantized::new(data, blocks, scale, offset, (dtype, call.numerics()))?;
    Ok(vec![Tensor::lazy(dtype, &shape, Arc::new(weight))?])
}

impl FunctionBuilder {
    /// Adds a weight of `scale * data`, int8 with a scale for each index of the first axis. `scale` has an element for each, in
    /// any shape.
    pub fn scaled_rows(&mut self, name: &str, data: Value, scale: Value) -> Result<Var, BuildError> {
        let scale = match scale.tensor_type().and_then(TensorType::element_count) {
            Some(rows) => Value { ty: TensorType::fixed(DataType::Float16, &[rows]).into(), ..scale },
            None => scale,
        };
        let zero = TensorType::fixed(DataType::Int8, &[]);
        let zero = Value { ty: zero.into(), data: ValueData::Tensor(TensorData::Bytes(vec![0])) };
        self.call(&DECL, name)
            .attribute("quantized_data", data)
            .attribute("zero_point", zero)
            .attribute("scale", scale)
            .attribute("axis", Value::int32(0))
            .single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, tensor};
    use crate::value::BlobReference;

    fn infer(scale: &[i64], zero_point: &[i64], axis: i32) -> Result<Vec<ValueType>, InferError> {
        Operands::default()
            .with("quantized_data", tensor(DataType::Int8, &[4, 8]))
            .with("scale", fp16(scale))
            .with("zero_point", tensor(DataType::Int8, zero_point))
            .constant("axis", Value::int32(axis))
            .infer_in(&DECL, Opset::Ios16)
    }

    #[test]
    fn scalars_and_vectors_along_the_axis_fit() {
        assert_eq!(infer(&[4], &[], 0), Ok(vec![fp16(&[4, 8])]));
        assert_eq!(infer(&[8], &[8], -1), Ok(vec![fp16(&[4, 8])]));
    }

    #[test]
    fn rows_have_scales_of_one_axis_and_no_zero_point_but_zero() {
        let blob = |dtype, shape: &[u64]| {
            let reference = BlobReference { file_name: "weights".to_owned(), offset: 64 };
            Value::blob(TensorType::fixed(dtype, shape), reference)
        };
        let mut builder = FunctionBuilder::new(Opset::Ios16);
        let data = blob(DataType::Int8, &[4, 8, 1, 1]);
        let weight = builder.scaled_rows("w", data, blob(DataType::Float16, &[4, 1, 1, 1])).expect("the scale fits");
        assert_eq!(weight.tensor().expect("a tensor"), &TensorType::fixed(DataType::Float16, &[4, 8, 1, 1]));
        let function = builder.finish(&[&weight]);
        let attributes = &function.block.operations[0].attributes;
        let scale = attributes.get("scale").and_then(Value::tensor_type).expect("a scale");
        assert_eq!(scale.fixed_shape().as_deref(), Some(&[4][..]));
        assert_eq!(attributes.get("zero_point").and_then(Value::as_int), Some(0));
    }

    #[test]
    fn other_shapes_and_axes_are_refused() {
        assert!(infer(&[4], &[], 1).is_err());
        assert!(infer(&[], &[3], 0).is_err());
        assert!(infer(&[4, 1], &[], 0).is_err());
        assert!(infer(&[], &[], 2).is_err());
    }
}
