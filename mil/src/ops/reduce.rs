//! What the `reduce_*` ops share: parameters and type inference.

use super::decl::{BOOL, INT32, InferError, NUMBERS, OpContext, Parameter, STRING};
use super::shape::{axis_or, distinct_axes, known_bool_or, known_ints, known_string_or};
use crate::dtype::DataType;
use crate::types::{Dimension, TensorType, ValueType};

/// Parameters of an op that reduces over several axes.
pub const OVER_AXES: &[Parameter] = &[
    Parameter::new("x", NUMBERS),
    Parameter::new("axes", INT32).constant().optional(),
    Parameter::new("keep_dims", BOOL).constant().defaulted(),
];

/// Parameters of an op that finds an index along one axis.
pub const INDEX_ALONG_AXIS: &[Parameter] = &[
    Parameter::new("x", NUMBERS),
    Parameter::new("axis", INT32).constant().defaulted(),
    Parameter::new("keep_dims", BOOL).constant().defaulted(),
    Parameter::new("output_dtype", STRING).constant().defaulted(),
];

/// # Shapes
/// `x` with each of `axes` gone, or of length 1 under `keep_dims`; absent `axes` are all axes.
pub fn infer_over_axes(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axes = match known_ints(ctx, "axes")? {
        Some(axes) => distinct_axes("axes", &axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    Ok(vec![TensorType { dtype: x.dtype, shape: reduced(x, &axes, known_bool_or(ctx, "keep_dims", false)?) }.into()])
}

/// # Shapes
/// `x` with `axis` gone, or of length 1 under `keep_dims`. The elements are int32, or uint16 where `output_dtype` says so.
pub fn infer_index_along_axis(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axis = axis_or(ctx, "axis", -1, x.rank())?;
    let dtype = match known_string_or(ctx, "output_dtype", "int32")? {
        "int32" => DataType::Int32,
        "uint16" => DataType::UInt16,
        other => return Err(InferError::operand("output_dtype", "`int32` or `uint16`", format!("`{other}`"))),
    };
    Ok(vec![TensorType { dtype, shape: reduced(x, &[axis], known_bool_or(ctx, "keep_dims", false)?) }.into()])
}

fn reduced(x: &TensorType, axes: &[usize], keep_dims: bool) -> Vec<Dimension> {
    let mut gone = vec![false; x.rank()];
    for axis in axes {
        if let Some(gone) = gone.get_mut(*axis) {
            *gone = true;
        }
    }
    let kept = |(size, gone): (&Dimension, bool)| match (gone, keep_dims) {
        (false, _) => Some(*size),
        (true, true) => Some(Dimension::Fixed(1)),
        (true, false) => None,
    };
    x.shape.iter().zip(gone).filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32, tensor};
    use crate::ops::{reduce_argmax, reduce_max};
    use crate::value::{BlobReference, Value};

    fn over(axes: Option<&[i32]>, keep_dims: bool) -> Result<Vec<ValueType>, InferError> {
        let mut operands = Operands::default().with("x", fp16(&[2, -1, 4]));
        if let Some(axes) = axes {
            operands = operands.constant("axes", Value::int32s(axes));
        }
        operands.constant("keep_dims", Value::bool(keep_dims)).infer(&reduce_max::DECL)
    }

    #[test]
    fn reduced_axes_go_or_stay_with_length_one() {
        assert_eq!(over(Some(&[-1]), false), Ok(vec![fp16(&[2, -1])]));
        assert_eq!(over(Some(&[-1, 1]), true), Ok(vec![fp16(&[2, 1, 1])]));
        assert_eq!(over(Some(&[]), false), Ok(vec![fp16(&[2, -1, 4])]));
    }

    #[test]
    fn absent_axes_are_all_axes() {
        assert_eq!(over(None, false), Ok(vec![fp16(&[])]));
        assert_eq!(over(None, true), Ok(vec![fp16(&[1, 1, 1])]));
    }

    #[test]
    fn axes_outside_of_x_or_twice_are_refused() {
        assert!(over(Some(&[3]), false).is_err());
        assert!(over(Some(&[i32::MIN]), false).is_err());
        assert!(over(Some(&[0, -3]), false).is_err());
    }

    #[test]
    fn axes_that_inference_cannot_see_are_refused() {
        let x = Operands::default().with("x", fp16(&[2, 4]));
        assert!(x.clone().with("axes", int32(&[1])).infer(&reduce_max::DECL).is_err());
        let reference = BlobReference { file_name: "weights".to_owned(), offset: 64 };
        let blob = Value::blob(TensorType::fixed(DataType::Int32, &[1]), reference);
        assert!(x.constant("axes", blob).infer(&reduce_max::DECL).is_err());
    }

    #[test]
    fn an_index_is_int32_unless_asked_otherwise() {
        let x = Operands::default().with("x", fp16(&[2, 5]));
        assert_eq!(x.clone().infer(&reduce_argmax::DECL), Ok(vec![int32(&[2])]));
        let short = x.clone().constant("output_dtype", Value::string("uint16")).constant("axis", Value::int32(0));
        let short = short.constant("keep_dims", Value::bool(true));
        assert_eq!(short.infer(&reduce_argmax::DECL), Ok(vec![tensor(DataType::UInt16, &[1, 5])]));
        assert!(x.clone().constant("output_dtype", Value::string("fp16")).infer(&reduce_argmax::DECL).is_err());
        assert!(x.constant("axis", Value::int32(2)).infer(&reduce_argmax::DECL).is_err());
    }

    #[test]
    fn a_scalar_has_no_index() {
        assert!(Operands::default().with("x", fp16(&[])).infer(&reduce_argmax::DECL).is_err());
    }
}
