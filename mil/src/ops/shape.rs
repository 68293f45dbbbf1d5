//! Shape arithmetic, and the constant operands that decide shapes, that several ops share.

use super::decl::{Change, Domain, FLOATS, INT32, InferError, OpContext, POSITIONS, Parameter, normalize_axis};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dimension, TensorType};
use crate::value::Value;

/// The types of ops that move elements without computing with them.
pub const ELEMENTS: Domain = Domain::OneOf(&[
    DataType::Float16,
    DataType::Float32,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt8,
    DataType::UInt16,
    DataType::Bool,
]);

/// Numbers of every width that ops tell apart.
pub const SMALL_NUMBERS: Domain = Domain::OneOf(&[
    DataType::Float16,
    DataType::Float32,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt8,
    DataType::UInt16,
]);

/// The types that such ops took in the first operation sets.
pub const CLASSIC: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int32, DataType::Bool]);

/// Small integers are moved since ios17.
pub const SMALL_TOO: &[Change] = &[Change::Takes(Opset::Ios17, ELEMENTS)];
/// An operand `x` whose elements are moved.
pub const MOVED_X: Parameter = Parameter::new("x", CLASSIC).changes(SMALL_TOO);

/// Positions or sizes, which may be small integers since ios17.
pub const fn positions(name: &'static str) -> Parameter {
    Parameter::new(name, INT32).changes(&[Change::Takes(Opset::Ios17, POSITIONS)])
}

/// A constant that shares its element type with `x` of group T before ios17, and with others of group U since.
pub const fn factor(name: &'static str) -> Parameter {
    Parameter::new(name, FLOATS).group('T').constant().changes(&[Change::Group(Opset::Ios17, 'U')])
}

/// The highest rank that inference gives a result whose rank follows from a number in the program. Core ML itself runs
/// tensors of up to 5 axes; the bound keeps a hostile number from taking memory.
pub const MAX_RANK: usize = 32;

/// The shape of an elementwise result: axes are aligned at the end, and an axis of length 1 stretches.
pub fn broadcast(x: &TensorType, y: &TensorType) -> Result<Vec<Dimension>, InferError> {
    broadcast_shapes(&x.shape, &y.shape)
        .ok_or_else(|| InferError::Mismatch(format!("shapes {x} and {y} do not broadcast")))
}

/// [`broadcast`] of bare shapes; `None` where they do not fit.
pub fn broadcast_shapes(x: &[Dimension], y: &[Dimension]) -> Option<Vec<Dimension>> {
    let rank = x.len().max(y.len());
    let axis = |shape: &[Dimension], position: usize| {
        let index = (position + shape.len()).checked_sub(rank);
        index.and_then(|index| shape.get(index).copied()).unwrap_or(Dimension::Fixed(1))
    };
    (0..rank)
        .map(|position| match (axis(x, position), axis(y, position)) {
            (a, b) if a == b => Some(a),
            (Dimension::Fixed(1), other) | (other, Dimension::Fixed(1)) => Some(other),
            (Dimension::Unknown, known) | (known, Dimension::Unknown) => Some(known),
            _ => None,
        })
        .collect()
}

/// Whether two lengths can be the same when the program runs.
pub fn compatible(a: Dimension, b: Dimension) -> bool {
    a == b || a == Dimension::Unknown || b == Dimension::Unknown
}

/// Whether two shapes can be the same when the program runs.
pub fn compatible_shapes(a: &[Dimension], b: &[Dimension]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| compatible(*a, *b))
}

/// `given`, which must be a tensor of the element type of `reference`.
pub fn same_dtype(parameter: &str, reference: &TensorType, given: &TensorType) -> Result<(), InferError> {
    if reference.dtype == given.dtype {
        return Ok(());
    }
    Err(InferError::operand(parameter, format!("elements of type {}", reference.dtype), given))
}

/// The integers of a constant parameter, without which there is no result type; `None` only where it is absent.
pub fn known_ints(ctx: &OpContext<'_>, parameter: &str) -> Result<Option<Vec<i64>>, InferError> {
    known(ctx, parameter, ctx.ints(parameter)?)
}

/// The integer of a constant parameter, or `default` only where it is absent.
pub fn known_int_or(ctx: &OpContext<'_>, parameter: &str, default: i64) -> Result<i64, InferError> {
    let value = ctx.value(parameter, "a constant integer", Value::as_int)?;
    Ok(known(ctx, parameter, value)?.unwrap_or(default))
}

/// The boolean of a constant parameter, or `default` only where it is absent.
pub fn known_bool_or(ctx: &OpContext<'_>, parameter: &str, default: bool) -> Result<bool, InferError> {
    let value = ctx.value(parameter, "a constant boolean", Value::as_bool)?;
    Ok(known(ctx, parameter, value)?.unwrap_or(default))
}

/// The text of a constant parameter, or `default` only where it is absent.
pub fn known_string_or<'a>(ctx: &OpContext<'a>, parameter: &str, default: &'a str) -> Result<&'a str, InferError> {
    let value = ctx.value(parameter, "a constant string", Value::as_str)?;
    Ok(known(ctx, parameter, value)?.unwrap_or(default))
}

/// `value`, which was read from `parameter`; absent only where the parameter is.
pub fn known<T>(ctx: &OpContext<'_>, parameter: &str, value: Option<T>) -> Result<Option<T>, InferError> {
    match (value, ctx.optional(parameter)) {
        (None, Some(operand)) => {
            let found = format!("{} without a value in the program", operand.ty);
            Err(InferError::operand(parameter, "a constant whose value stands in the program", found))
        }
        (value, _) => Ok(value),
    }
}

/// The axis that `parameter` names in a tensor of `rank` axes, or `default` where it is absent.
pub fn axis_or(ctx: &OpContext<'_>, parameter: &str, default: i64, rank: usize) -> Result<usize, InferError> {
    normalize_axis(parameter, known_int_or(ctx, parameter, default)?, rank)
}

/// `axes` of a tensor of `rank` axes as indices in the order given; none may occur twice.
pub fn distinct_axes(parameter: &str, axes: &[i64], rank: usize) -> Result<Vec<usize>, InferError> {
    let mut seen = vec![false; rank];
    let mut indices = Vec::with_capacity(axes.len().min(rank));
    for axis in axes {
        let index = normalize_axis(parameter, *axis, rank)?;
        match seen.get_mut(index) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(InferError::operand(parameter, "axes that differ", format!("axis {axis} twice"))),
        }
        indices.push(index);
    }
    Ok(indices)
}

/// Requires that a vector of one number per axis has `rank` elements, as far as its type tells.
pub fn one_per_axis(parameter: &str, vector: &TensorType, rank: usize) -> Result<(), InferError> {
    let fits = match vector.shape.as_slice() {
        [Dimension::Fixed(length)] => usize::try_from(*length) == Ok(rank),
        [Dimension::Unknown] => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(InferError::operand(parameter, format!("a vector of {rank} elements"), vector)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sizes: &[i64]) -> Vec<Dimension> {
        sizes.iter().map(|size| u64::try_from(*size).map_or(Dimension::Unknown, Dimension::Fixed)).collect()
    }

    #[test]
    fn broadcast_aligns_axes_at_the_end_and_stretches_ones() {
        assert_eq!(broadcast_shapes(&shape(&[4, 1, 3]), &shape(&[2, 1])), Some(shape(&[4, 2, 3])));
        assert_eq!(broadcast_shapes(&shape(&[]), &shape(&[2, 1])), Some(shape(&[2, 1])));
        assert_eq!(broadcast_shapes(&shape(&[2]), &shape(&[3])), None);
    }

    #[test]
    fn broadcast_of_an_unknown_axis_is_what_the_other_axis_allows() {
        assert_eq!(broadcast_shapes(&shape(&[-1]), &shape(&[1])), Some(shape(&[-1])));
        assert_eq!(broadcast_shapes(&shape(&[-1]), &shape(&[3])), Some(shape(&[3])));
        assert_eq!(broadcast_shapes(&shape(&[-1]), &shape(&[-1])), Some(shape(&[-1])));
    }

    #[test]
    fn an_axis_must_not_occur_twice_under_two_signs() {
        assert_eq!(distinct_axes("axes", &[-1, 0], 3), Ok(vec![2, 0]));
        assert!(distinct_axes("axes", &[-1, 2], 3).is_err());
        assert!(distinct_axes("axes", &[3], 3).is_err());
        assert!(distinct_axes("axes", &[i64::MIN], 3).is_err());
    }

    #[test]
    fn a_vector_of_one_number_per_axis_may_have_unknown_length_only() {
        let vector = |sizes: &[i64]| TensorType { dtype: DataType::Int32, shape: shape(sizes) };
        assert!(one_per_axis("begin", &vector(&[4]), 4).is_ok());
        assert!(one_per_axis("begin", &vector(&[-1]), 4).is_ok());
        assert!(one_per_axis("begin", &vector(&[3]), 4).is_err());
        assert!(one_per_axis("begin", &vector(&[]), 4).is_err());
        assert!(one_per_axis("begin", &vector(&[4, 1]), 4).is_err());
    }
}
