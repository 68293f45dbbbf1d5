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
