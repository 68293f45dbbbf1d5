//! `cast`: a tensor with another element type.

use half::f16;

use super::decl::{InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::SILERO;
use super::shape::{MOVED_X, known_string_or};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "cast",
    "Converts the elements of `x` to the type that `dtype` names.",
    &[MOVED_X, Parameter::new("dtype", STRING).constant()],
    infer,
)
.moves(evaluate)
.seen(SILERO);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    ctx.required("dtype")?;
    let name = known_string_or(ctx, "dtype", "")?;
    let dtype = DataType::from_text_name(name).filter(|dtype| is_target(*dtype, ctx.opset()));
    let dtype = dtype.ok_or_else(|| {
        InferError::operand("dtype", format!("a type that {} casts to", ctx.opset()), format!("`{name}`"))
    })?;
    Ok(vec![TensorType { dtype, shape: x.shape.clone() }.into()])
}

/// Whether `cast` can convert to `dtype`; 8-bit and 16-bit integers came with ios17.
fn is_target(dtype: DataType, opset: Opset) -> bool {
    match dtype {
        DataType::Float16 | DataType::Float32 | DataType::Int32 | DataType::Bool => true,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 | DataType::UInt16 => opset >= Opset::Ios17,
        _ => false,
    }
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let name = call.string_or("dtype", "")?;
    let dtype = DataType::from_text_name(name)
        .ok_or_else(|| InferError::operand("dtype", "an element type", format!("`{name}`")))?;
    let x = call.take("x")?.expanded()?;
    if x.dtype() == dtype {
        return Ok(vec![x]);
    }
    let shape = x.shape();
    let floats: Vec<f32> = match x.elements() {
        Elements::Floats(values) => values.to_vec(),
        #[expect(clippy::cast_precision_loss, reason = "what a cast does")]
        Elements::Integers(values) => values.iter().map(|value| *value as f32).collect(),
        Elements::Bools(values) => values.iter().map(|value| f32::from(u8::from(*value))).collect(),
        _ => return Err(InferError::operand("x", "numbers or booleans", x.ty()).into()),
    };
    let result = match dtype {
        DataType::Float16 => {
            // The only place where f32 numerics round: the program says so.
            let values = floats.iter().map(|value| f16::from_f32(*value).to_f32()).collect();
            Tensor::floats(dtype, shape, values)?
        }
        DataType::Float32 => Tensor::floats(dtype, shape, floats)?,
        DataType::Bool => Tensor::bools(shape, floats.iter().map(|value| *value != 0.0).collect())?,
        _ => {
            let values = match x.elements() {
                Elements::Integers(values) => values.iter().map(|value| wrapped(*value, dtype)).collect(),
                #[expect(clippy::cast_possible_truncation, reason = "what a cast does")]
                _ => floats.iter().map(|value| wrapped(*value as i32, dtype)).collect(),
            };
            Tensor::integers(dtype, shape, values)?
        }
    };
    Ok(vec![result])
}

/// The low bits of `value` that `dtype` has.
fn wrapped(value: i32, dtype: DataType) -> i32 {
    let [a, b, ..] = value.to_le_bytes();
    match dtype {
        DataType::Int8 => i32::from(a.cast_signed()),
        DataType::UInt8 => i32::from(a),
        DataType::Int16 => i32::from(i16::from_le_bytes([a, b])),
        DataType::UInt16 => i32::from(u16::from_le_bytes([a, b])),
        _ => value,
    }
}

impl FunctionBuilder {
    /// Converts the elements of `x` to `dtype`.
    pub fn cast(&mut self, name: &str, x: &Var, dtype: DataType) -> Result<Var, BuildError> {
        self.call(&DECL, name).operand("x", x).constant("dtype", Value::string(dtype.text_name())).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, int32, tensor};

    fn cast(name: &str, opset: Opset) -> Result<Vec<ValueType>, InferError> {
        let operands = Operands::default().with("x", int32(&[1, -1])).constant("dtype", Value::string(name));
        operands.infer_in(&DECL, opset)
    }

    #[test]
    fn the_shape_stays() {
        assert_eq!(cast("fp16", Opset::Ios15), Ok(vec![tensor(DataType::Float16, &[1, -1])]));
        assert_eq!(cast("uint16", Opset::Ios17), Ok(vec![tensor(DataType::UInt16, &[1, -1])]));
    }

    #[test]
    fn short_integers_came_with_ios17() {
        assert!(cast("int16", Opset::Ios16).is_err());
    }

    #[test]
    fn other_types_and_names_are_refused() {
        assert!(cast("int4", Opset::Ios18).is_err());
        assert!(cast("string", Opset::Ios18).is_err());
        assert!(cast("float", Opset::Ios18).is_err());
        assert!(Operands::default().with("x", int32(&[1])).infer(&DECL).is_err());
    }
}
