//! `cast`: a tensor with another element type.

use super::decl::{Effect, InferError, OpContext, OpDecl, Parameter, Results, STRING, pending};
use super::shape::{ELEMENTS, known_string_or};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "cast",
    doc: "Converts the elements of `x` to the type that `dtype` names.",
    since: Opset::Ios15,
    parameters: &[Parameter::new("x", ELEMENTS), Parameter::new("dtype", STRING).constant()],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

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
