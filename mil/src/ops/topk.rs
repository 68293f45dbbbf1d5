//! `topk`: the largest or smallest elements along an axis.

use std::cmp::Ordering;

use super::decl::{BOOL, Change, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter, Results, STRING};
use super::evidence::PARAKEET;
use super::reduce::{index_elements, is_nan};
use super::shape::{SMALL_NUMBERS, axis_or, known_bool_or, known_int_or, known_string_or, positions};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, along_axis};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "topk",
    "Finds the `k` largest elements of `x` along `axis`, or the smallest, and where they are.",
    &[
        Parameter::new("x", NUMBERS).changes(&[Change::Takes(Opset::Ios17, SMALL_NUMBERS)]),
        positions("k").defaulted(),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("ascending", BOOL).constant().defaulted(),
        Parameter::new("sort", BOOL).constant().defaulted().changes(&[Change::Since(Opset::Ios16)]),
        Parameter::new("return_indices", BOOL).constant().defaulted().changes(&[Change::Since(Opset::Ios16)]),
        Parameter::new("output_indices_dtype", STRING).constant().defaulted().changes(&[Change::Since(Opset::Ios17)]),
    ],
    infer,
)
.moves(evaluate)
.results(Results::Several)
.seen(PARAKEET);

/// # Shapes
/// `x` with `axis` of length `k`, for the values and for their indices.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axis = axis_or(ctx, "axis", -1, x.rank())?;
    let mut shape = x.shape.clone();
    // A count that is computed at run time is legal, and leaves the axis unknown.
    let dynamic = ctx.optional("k").is_some_and(|k| k.value.is_none());
    let length = if dynamic {
        Dimension::Unknown
    } else {
        let k = known_int_or(ctx, "k", 1)?;
        let size = x.shape.get(axis).and_then(|size| size.fixed());
        let most = size.unwrap_or(u64::MAX);
        let k = u64::try_from(k).ok().filter(|k| (1..=most).contains(k));
        Dimension::Fixed(k.ok_or_else(|| InferError::operand("k", format!("1 to {most}"), "another number"))?)
    };
    if let Some(slot) = shape.get_mut(axis) {
        *slot = length;
    }
    let values = TensorType { dtype: x.dtype, shape };
    if !known_bool_or(ctx, "return_indices", true)? {
        return Ok(vec![values.into()]);
    }
    let dtype = match known_string_or(ctx, "output_indices_dtype", "int32")? {
        "int32" => DataType::Int32,
        "uint16" => DataType::UInt16,
        other => return Err(InferError::operand("output_indices_dtype", "`int32` or `uint16`", format!("`{other}`"))),
    };
    let indices = TensorType { dtype, shape: values.shape.clone() };
    Ok(vec![values.into(), indices.into()])
}

/// Sorted whatever `sort` says, which is one of the orders it allows. The first of equal elements comes first, and what is
/// not a number is larger than infinity.
fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", -1, x.rank())?;
    let mut shape = x.shape().to_vec();
    let lanes = along_axis(&shape, axis);
    let k = call.int_or("k", 1)?;
    let found = usize::try_from(k).ok().filter(|k| (1..=lanes[1]).contains(k));
    let k = found.ok_or_else(|| InferError::operand("k", format!("1 to {}", lanes[1]), k))?;
    let ascending = call.bool_or("ascending", false)?;
    shape[axis] = k;
    let (values, indices) = match x.elements() {
        Elements::Bools(values) => {
            let (values, indices) = first_of_each_lane(values, lanes, k, ascending);
            (Tensor::bools(&shape, values)?, indices)
        }
        _ if x.dtype().is_float() => {
            let (values, indices) = first_of_each_lane(&x.as_floats()?, lanes, k, ascending);
            (Tensor::floats(x.dtype(), &shape, values)?, indices)
        }
        _ => {
            let (values, indices) = first_of_each_lane(&x.as_integers()?, lanes, k, ascending);
            (Tensor::integers(x.dtype(), &shape, values)?, indices)
        }
    };
    if !call.bool_or("return_indices", true)? {
        return Ok(vec![values]);
    }
    let dtype = match call.string_or("output_indices_dtype", "int32")? {
        "uint16" => DataType::UInt16,
        _ => DataType::Int32,
    };
    Ok(vec![values, Tensor::integers(dtype, &shape, index_elements(dtype, &indices)?)?])
}

pub(super) fn first_of_each_lane<T: Copy + PartialOrd>(
    values: &[T],
    [outer, length, inner]: [usize; 3],
    k: usize,
    ascending: bool,
) -> (Vec<T>, Vec<usize>) {
    let mut places = vec![0; outer * k * inner];
    let mut indices = vec![0; outer * k * inner];
    for outer in 0..outer {
        for column in 0..inner {
            let place = |index: usize| (outer * length + index) * inner + column;
            let mut sorted: Vec<usize> = (0..length).collect();
            sorted.sort_by(|a, b| {
                let order = compare(&values[place(*a)], &values[place(*b)]);
                if ascending { order } else { order.reverse() }
            });
            for (rank, index) in sorted.into_iter().take(k).enumerate() {
                let target = (outer * k + rank) * inner + column;
                places[target] = place(index);
                indices[target] = index;
            }
        }
    }
    (places.into_iter().map(|place| values[place]).collect(), indices)
}

/// The order in which what is not a number is largest.
fn compare<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32};
    use crate::value::Value;

    #[test]
    fn values_come_with_their_indices() {
        let operands = Operands::default().with("x", fp16(&[1, 8, -1])).constant("k", Value::int32(3));
        let operands = operands.constant("axis", Value::int32(1));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[1, 3, -1]), int32(&[1, 3, -1])]));
    }

    #[test]
    fn more_than_there_are_is_refused() {
        for k in [0, -1, 9] {
            assert!(Operands::default().with("x", fp16(&[8])).constant("k", Value::int32(k)).infer(&DECL).is_err());
        }
    }
}
