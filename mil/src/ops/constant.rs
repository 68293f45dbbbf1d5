//! `const`: a value that stands in the program or in its weight file. Its builder method is
//! [`FunctionBuilder::constant`](crate::FunctionBuilder::constant).

use super::decl::{Domain, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::special;
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::types::ValueType;
use crate::value::{TensorData, Value};

/// The declaration. `val` is an attribute, not an input.
pub static DECL: OpDecl = OpDecl::new(
    special::CONST,
    "Gives the constant that its attribute `val` holds.",
    &[Parameter::new("val", Domain::AnyOrList).constant()],
    infer,
)
.moves(evaluate)
.seen(SILERO);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let operand = ctx.required("val")?;
    let value = operand.value.ok_or_else(|| InferError::operand("val", "a constant", operand.ty))?;
    check_element_count(value)?;
    Ok(vec![value.ty.clone()])
}

/// Requires that an immediate tensor has as many elements as its type says.
fn check_element_count(value: &Value) -> Result<(), InferError> {
    let (Some(tensor), Some(data)) = (value.tensor_type(), value.tensor_data()) else { return Ok(()) };
    let (found, unit) = match data {
        TensorData::Floats(elements) => (elements.len(), "elements"),
        TensorData::Ints(elements) => (elements.len(), "elements"),
        TensorData::Bools(elements) => (elements.len(), "elements"),
        TensorData::Strings(elements) => (elements.len(), "elements"),
        TensorData::LongInts(elements) => (elements.len(), "elements"),
        TensorData::Doubles(elements) => (elements.len(), "elements"),
        TensorData::Bytes(bytes) => (bytes.len(), "bytes"),
    };
    let count = tensor.element_count();
    let expected = if unit == "bytes" { count.and_then(|count| tensor.dtype.packed_bytes(count)) } else { count };
    if expected.is_some() && expected == u64::try_from(found).ok() {
        return Ok(());
    }
    Err(InferError::operand("val", format!("data for {tensor}"), format!("{found} {unit}")))
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    Ok(vec![call.take("val")?])
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16};
    use crate::types::{Dimension, TensorType};
    use crate::value::{BlobReference, ValueData};

    fn infer(value: Value) -> Result<Vec<ValueType>, InferError> {
        Operands::default().constant("val", value).infer(&DECL)
    }

    #[test]
    fn the_result_has_the_type_of_the_value() {
        let value = Value::int32s(&[1, 2, 3]);
        assert_eq!(infer(value.clone()), Ok(vec![value.ty]));
        let value = Value::fp16(f16::ONE);
        assert_eq!(infer(value.clone()), Ok(vec![value.ty]));
        let reference = BlobReference { file_name: "weights".to_owned(), offset: 64 };
        let blob = Value::blob(TensorType::fixed(DataType::Float16, &[u64::MAX, 4]), reference);
        assert_eq!(infer(blob.clone()), Ok(vec![blob.ty]));
    }

    #[test]
    fn elements_must_be_as_many_as_the_type_says() {
        let value = |shape: &[u64]| Value {
            ty: TensorType::fixed(DataType::UInt4, shape).into(),
            data: ValueData::Tensor(TensorData::Bytes(vec![0; 2])),
        };
        assert!(infer(value(&[3])).is_ok());
        assert!(infer(value(&[5])).is_err());
        assert!(infer(value(&[u64::MAX, u64::MAX])).is_err());
    }

    #[test]
    fn a_value_without_a_fixed_shape_is_refused() {
        let ty = TensorType { dtype: DataType::Int32, shape: vec![Dimension::Unknown] };
        assert!(infer(Value { ty: ty.into(), data: ValueData::Tensor(TensorData::Ints(vec![1])) }).is_err());
    }

    #[test]
    fn a_value_of_the_running_program_is_no_constant() {
        assert!(Operands::default().with("val", fp16(&[2])).infer(&DECL).is_err());
        assert!(Operands::default().infer(&DECL).is_err());
    }
}
