//! `gather`: slices of a tensor, taken along one axis by index.

use super::decl::{BOOL, Change, Domain, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::shape::{axis_or, compatible, known_int_or};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

pub(super) const TABLE: Domain = Domain::OneOf(&[
    DataType::Float16,
    DataType::Float32,
    DataType::Int32,
    DataType::Int16,
    DataType::UInt16,
    DataType::Int8,
    DataType::UInt8,
]);
pub(super) const INDICES: Domain =
    Domain::OneOf(&[DataType::Int32, DataType::Int16, DataType::UInt16, DataType::Int8, DataType::UInt8]);

const INDICES_IOS16: Domain = Domain::OneOf(&[DataType::Int32, DataType::Int16, DataType::UInt16]);

/// The operand `indices` of the ops that gather.
pub(super) const fn places_operand() -> Parameter {
    Parameter::new("indices", INT32)
        .changes(&[Change::Takes(Opset::Ios16, INDICES_IOS16), Change::Takes(Opset::Ios17, INDICES)])
}

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "gather",
    "Takes the slices of `x` at `indices` along `axis`.",
    &[
        Parameter::new("x", NUMBERS).changes(&[Change::Takes(Opset::Ios17, TABLE)]),
        places_operand(),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("batch_dims", INT32).constant().defaulted().changes(&[Change::Since(Opset::Ios16)]),
        Parameter::new("validate_indices", BOOL).constant().defaulted().changes(&[Change::Since(Opset::Ios17)]),
    ],
    infer,
)
.moves(evaluate)
.seen(ANEMLL);

/// # Shapes
/// `x: [batch.., before.., size, after..]`, `indices: [batch.., taken..]`, where `size` is at `axis` and there are
/// `batch_dims` lengths of `batch`; the result is `[batch.., before.., taken.., after..]`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let indices = ctx.tensor("indices")?;
    let axis = axis_or(ctx, "axis", 0, x.rank())?;
    let batch_dims = known_int_or(ctx, "batch_dims", 0)?;
    let batch_rank = usize::try_from(batch_dims).ok().filter(|rank| *rank <= axis.min(indices.rank()));
    let batch_rank = batch_rank.ok_or_else(|| {
        InferError::operand("batch_dims", format!("at most {}, up to `axis`", axis.min(indices.rank())), batch_dims)
    })?;
    let (before, from_axis) = x.shape.split_at(axis);
    let (batch, taken) = indices.shape.split_at(batch_rank);
    if !batch.iter().zip(before).all(|(a, b)| compatible(*a, *b)) {
        return Err(InferError::operand("indices", format!("the first {batch_rank} axes of {x}"), indices));
    }
    let after = from_axis.iter().skip(1);
    let shape = before.iter().chain(taken).chain(after).copied().collect();
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let indices = call.tensor("indices")?;
    let axis = call.axis_or("axis", 0, x.rank())?;
    let batch_rank = usize::try_from(call.int_or("batch_dims", 0)?).unwrap_or(usize::MAX).min(axis).min(indices.rank());
    let (batch, before) = x.shape().split_at(axis).0.split_at(batch_rank);
    let (index_batch, taken) = indices.shape().split_at(batch_rank);
    if batch != index_batch {
        return Err(InferError::operand("indices", format!("the first axes of {}", x.ty()), indices.ty()).into());
    }
    let [_, length, inner] = along_axis(x.shape(), axis);
    let before_count: usize = before.iter().product();
    let taken_count: usize = taken.iter().product();
    let places = places(call, length)?;
    let after = x.shape().iter().skip(axis + 1);
    let shape: Vec<usize> = batch.iter().chain(before).chain(taken).chain(after).copied().collect();
    let rows = (0..batch.iter().product::<usize>()).flat_map(|batch| {
        let taken = places.get(batch * taken_count..(batch + 1) * taken_count).unwrap_or_default();
        (0..before_count).flat_map(move |before| {
            let first = (batch * before_count + before) * length;
            taken.iter().map(move |index| (0, (first + index) * inner..(first + index + 1) * inner))
        })
    });
    Ok(vec![Tensor::from_runs(std::slice::from_ref(x), &shape, rows)?])
}

/// The indices of `call` into an axis. Negative ones counted from the end before ios17. What is outside of the axis is
/// refused whether the op validates it or not: without that, every device does what it likes.
pub(super) fn places(call: &Call<'_>, length: usize) -> Result<Vec<usize>, EvaluateError> {
    let place = |index: &i32| {
        let wide = i64::from(*index);
        let from_end = wide < 0 && call.opset() < Opset::Ios17;
        let signed = if from_end { wide.saturating_add_unsigned(length as u64) } else { wide };
        let place = usize::try_from(signed).ok().filter(|place| *place < length);
        place.ok_or(EvaluateError::Index { index: wide, length })
    };
    call.integers("indices")?.iter().map(place).collect()
}

impl FunctionBuilder {
    /// Takes the slices of `x` at `indices` along `axis`. The indices must be within `x`: they are not validated.
    pub fn gather(&mut self, name: &str, x: &Var, indices: &Var, axis: i32) -> Result<Var, BuildError> {
        let opset = self.opset();
        let mut call = self.call(&DECL, name).operand("x", x).operand("indices", indices);
        call = call.constant("axis", Value::int32(axis));
        if opset >= Opset::Ios16 {
            call = call.constant("batch_dims", Value::int32(0));
        }
        if opset >= Opset::Ios17 {
            call = call.constant("validate_indices", Value::bool(false));
        }
        call.single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32, tensor};

    fn gather(x: &[i64], indices: &[i64]) -> Operands {
        Operands::default().with("x", fp16(x)).with("indices", int32(indices))
    }

    #[test]
    fn the_indices_stand_in_for_the_axis() {
        assert_eq!(gather(&[100, 64], &[1, -1]).infer(&DECL), Ok(vec![fp16(&[1, -1, 64])]));
        let last = gather(&[2, 100], &[3]).constant("axis", Value::int32(-1));
        assert_eq!(last.infer(&DECL), Ok(vec![fp16(&[2, 3])]));
        assert_eq!(gather(&[100], &[]).infer(&DECL), Ok(vec![fp16(&[])]));
    }

    #[test]
    fn older_programs_gather_with_short_indices() {
        let operands = Operands::default().with("x", fp16(&[100, 64]));
        let operands = operands.with("indices", tensor(DataType::Int16, &[1, 4]));
        assert_eq!(operands.infer_in(&DECL, Opset::Ios16), Ok(vec![fp16(&[1, 4, 64])]));
    }

    #[test]
    fn batch_axes_are_shared() {
        let batched = |x: &[i64], indices: &[i64], axis, batch_dims| {
            let operands = gather(x, indices).constant("axis", Value::int32(axis));
            operands.constant("batch_dims", Value::int32(batch_dims)).infer(&DECL)
        };
        assert_eq!(batched(&[2, 5, 7], &[2, 3], 1, 1), Ok(vec![fp16(&[2, 3, 7])]));
        assert_eq!(batched(&[2, 5, 7], &[2, 3], 2, 1), Ok(vec![fp16(&[2, 5, 3])]));
        assert!(batched(&[2, 5, 7], &[4, 3], 1, 1).is_err());
        assert!(batched(&[2, 5, 7], &[2, 3], 1, 2).is_err());
        assert!(batched(&[2, 5, 7], &[2, 3], 1, -1).is_err());
        assert!(batched(&[2, 5, 7], &[], 1, 1).is_err());
    }

    #[test]
    fn the_axis_must_be_of_x() {
        assert!(gather(&[2, 100], &[3]).constant("axis", Value::int32(2)).infer(&DECL).is_err());
        assert!(gather(&[], &[3]).infer(&DECL).is_err());
    }

    #[test]
    fn older_programs_do_not_say_whether_indices_are_validated() {
        let mut builder = FunctionBuilder::new(Opset::Ios16);
        let x = builder.input("x", fp16(&[100, 64]));
        let indices = builder.input("indices", int32(&[1, 4]));
        let rows = builder.gather("rows", &x, &indices, 0).expect("x has axes");
        let function = builder.finish(&[&rows]);
        let operation = function.block.operations.last().expect("just added");
        assert!(!operation.inputs.contains_key("validate_indices"));
    }

    #[test]
    fn the_builder_writes_every_default() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[100, 64]));
        let indices = builder.input("indices", int32(&[1, 4]));
        let rows = builder.gather("rows", &x, &indices, 0).expect("x has axes");
        let function = builder.finish(&[&rows]);
        let operation = function.block.operations.last().expect("just added");
        let given: Vec<_> = operation.inputs.keys().map(String::as_str).collect();
        assert_eq!(given, ["axis", "batch_dims", "indices", "validate_indices", "x"]);
    }
}
