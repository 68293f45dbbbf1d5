//! `split`: parts of a tensor along an axis.

use super::decl::{Domain, INT32, InferError, OpContext, OpDecl, Parameter, Results};
use super::evidence::KOKORO;
use super::shape::{MAX_RANK, axis_or, known, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const SPLITTABLE: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int32, DataType::Bool]);

/// The most parts that a number in the program may ask for; it keeps a hostile number from taking memory.
const MAX_PARTS: usize = 65_536;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "split",
    "Cuts `x` along `axis` into equal parts, or parts of `split_sizes`.",
    &[
        Parameter::new("x", SPLITTABLE),
        Parameter::new("num_splits", INT32).constant().optional(),
        Parameter::new("split_sizes", INT32).constant().optional(),
        Parameter::new("axis", INT32).constant(),
    ],
    infer,
)
.moves(evaluate)
.results(Results::Several)
.seen(KOKORO)
.renewed(&[]);

/// How [`FunctionBuilder::split`] cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// Into this many parts of equal length.
    Equal(i32),
    /// Into parts of these lengths.
    Sizes(&'a [i32]),
}

/// # Shapes
/// Each result is like `x` but on `axis`, where the lengths of all results add up to that of `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    if x.rank() > MAX_RANK {
        return Err(InferError::operand(
            "x",
            format!("a tensor of rank {MAX_RANK} at most"),
            format!("rank {}", x.rank()),
        ));
    }
    ctx.required("axis")?;
    let axis = axis_or(ctx, "axis", 0, x.rank())?;
    let size = x.shape.get(axis).copied().unwrap_or(Dimension::Unknown);
    let part = |size: Dimension| {
        let mut shape = x.shape.clone();
        if let Some(axis) = shape.get_mut(axis) {
            *axis = size;
        }
        ValueType::Tensor(TensorType { dtype: x.dtype, shape })
    };
    Ok(part_sizes(ctx, size)?.into_iter().map(part).collect())
}

fn part_sizes(ctx: &OpContext<'_>, size: Dimension) -> Result<Vec<Dimension>, InferError> {
    let num_splits = ctx.value("num_splits", "a constant integer", Value::as_int)?;
    let num_splits = known(ctx, "num_splits", num_splits)?;
    let Some(sizes) = known_ints(ctx, "split_sizes")? else {
        let count = num_splits.ok_or_else(|| InferError::Missing("num_splits` or `split_sizes".to_owned()))?;
        return equal_sizes(count, size);
    };
    let refused = |expected: String| InferError::operand("split_sizes", expected, format!("{sizes:?}"));
    if num_splits.is_some_and(|count| usize::try_from(count) != Ok(sizes.len())) {
        return Err(refused("as many lengths as `num_splits` says".to_owned()));
    }
    if sizes.is_empty() || sizes.len() > MAX_PARTS {
        return Err(refused(format!("1 to {MAX_PARTS} lengths")));
    }
    let lengths = sizes.iter().map(|size| u64::try_from(*size)).collect::<Result<Vec<_>, _>>();
    let lengths = lengths.map_err(|_| refused("lengths".to_owned()))?;
    let total = lengths.iter().try_fold(0_u64, |total, length| total.checked_add(*length));
    if size.fixed().is_some_and(|size| total != Some(size)) {
        return Err(refused(format!("lengths that add up to {size}")));
    }
    Ok(lengths.into_iter().map(Dimension::Fixed).collect())
}

fn equal_sizes(count: i64, size: Dimension) -> Result<Vec<Dimension>, InferError> {
    let refused = |expected: String| InferError::operand("num_splits", expected, count);
    let parts = usize::try_from(count).ok().filter(|parts| (1..=MAX_PARTS).contains(parts));
    let parts = parts.ok_or_else(|| refused(format!("1 to {MAX_PARTS}")))?;
    let length = match size {
        Dimension::Unknown => Dimension::Unknown,
        Dimension::Fixed(size) => {
            let divisor = u64::try_from(parts).unwrap_or(u64::MAX);
            if size % divisor != 0 {
                return Err(refused(format!("a divisor of the length {size}")));
            }
            Dimension::Fixed(size / divisor)
        }
    };
    Ok(vec![length; parts])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", 0, x.rank())?;
    let [outer, length, inner] = along_axis(x.shape(), axis);
    let sizes: Vec<usize> = if let Some(sizes) = call.optional_integers("split_sizes")? {
        sizes.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect()
    } else {
        let parts = usize::try_from(call.int_or("num_splits", 1)?).ok().filter(|parts| *parts > 0);
        let parts = parts.filter(|parts| length.is_multiple_of(*parts));
        let parts = parts.ok_or_else(|| InferError::operand("num_splits", "a divisor of the axis", length))?;
        vec![length / parts; parts]
    };
    if sizes.iter().try_fold(0_usize, |sum, size| sum.checked_add(*size)) != Some(length) {
        return Err(InferError::operand("split_sizes", format!("a sum of {length}"), format!("{sizes:?}")).into());
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let mut shape = x.shape().to_vec();
        if let Some(axis) = shape.get_mut(axis) {
            *axis = size;
        }
        let first = start;
        let run = |outer: usize| (0, (outer * length + first) * inner..(outer * length + first + size) * inner);
        parts.push(Tensor::from_runs(std::slice::from_ref(x), &shape, (0..outer).map(run))?);
        start += size;
    }
    Ok(parts)
}

impl FunctionBuilder {
    /// Cuts `x` along `axis`.
    pub fn split(&mut self, name: &str, x: &Var, parts: Split<'_>, axis: i32) -> Result<Vec<Var>, BuildError> {
        let call = self.call(&DECL, name).operand("x", x);
        let call = match parts {
            Split::Equal(count) => call.constant("num_splits", Value::int32(count)),
            Split::Sizes(sizes) => call.constant("split_sizes", Value::int32s(sizes)),
        };
        call.constant("axis", Value::int32(axis)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::opset::Opset;

    fn split(x: &[i64], parts: Split<'_>, axis: i32) -> Result<Vec<ValueType>, InferError> {
        let operands = Operands::default().with("x", fp16(x)).constant("axis", Value::int32(axis));
        let operands = match parts {
            Split::Equal(count) => operands.constant("num_splits", Value::int32(count)),
            Split::Sizes(sizes) => operands.constant("split_sizes", Value::int32s(sizes)),
        };
        operands.infer(&DECL)
    }

    #[test]
    fn equal_parts_divide_the_axis() {
        assert_eq!(split(&[2, 6], Split::Equal(3), -1), Ok(vec![fp16(&[2, 2]); 3]));
        assert_eq!(split(&[2, -1], Split::Equal(2), 1), Ok(vec![fp16(&[2, -1]); 2]));
        assert!(split(&[2, 6], Split::Equal(4), 1).is_err());
    }

    #[test]
    fn sizes_add_up_to_the_axis() {
        assert_eq!(split(&[2, 6], Split::Sizes(&[4, 2]), 1), Ok(vec![fp16(&[2, 4]), fp16(&[2, 2])]));
        assert_eq!(split(&[-1, 6], Split::Sizes(&[4, 2]), 0), Ok(vec![fp16(&[4, 6]), fp16(&[2, 6])]));
        assert!(split(&[2, 6], Split::Sizes(&[4, 1]), 1).is_err());
        assert!(split(&[2, 6], Split::Sizes(&[7, -1]), 1).is_err());
        assert!(split(&[2, 6], Split::Sizes(&[]), 1).is_err());
    }

    #[test]
    fn a_count_beside_sizes_must_agree() {
        let operands = Operands::default().with("x", fp16(&[6])).constant("axis", Value::int32(0));
        let operands = operands.constant("split_sizes", Value::int32s(&[4, 2]));
        assert!(operands.clone().constant("num_splits", Value::int32(2)).infer(&DECL).is_ok());
        assert!(operands.constant("num_splits", Value::int32(3)).infer(&DECL).is_err());
    }

    #[test]
    fn counts_that_make_no_sense_are_refused() {
        assert!(split(&[2, 6], Split::Equal(0), 1).is_err());
        assert!(split(&[2, 6], Split::Equal(-1), 1).is_err());
        assert!(split(&[2, -1], Split::Equal(i32::MAX), 1).is_err());
        let neither = Operands::default().with("x", fp16(&[6])).constant("axis", Value::int32(0)).infer(&DECL);
        assert_eq!(neither, Err(InferError::Missing("num_splits` or `split_sizes".to_owned())));
    }

    #[test]
    fn the_builder_names_the_parts_in_order() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 8]));
        let parts = builder.split("parts", &x, Split::Equal(2), -1).expect("8 is even");
        assert_eq!(parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), ["parts_0", "parts_1"]);
    }
}
