//! `slice_update`: a tensor with the part between two corners replaced.

use super::decl::{BOOL, InferError, OpContext, OpDecl, POSITIONS, Parameter};
use super::evidence::ANEMLL;
use super::shape::{ELEMENTS, compatible_shapes, same_dtype};
use super::slice::{SliceMasks, StridedSlice, slice_shape};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "slice_update",
    "Replaces the slice of `x` from `begin` to before `end` by `update`.",
    &[
        Parameter::new("x", ELEMENTS).group('T'),
        Parameter::new("update", ELEMENTS).group('T'),
        Parameter::new("begin", POSITIONS).group('U'),
        Parameter::new("end", POSITIONS).group('U'),
        Parameter::new("stride", POSITIONS).group('U').constant().optional(),
        Parameter::new("begin_mask", BOOL).constant().optional(),
        Parameter::new("end_mask", BOOL).constant().optional(),
        Parameter::new("squeeze_mask", BOOL).constant().optional(),
    ],
    infer,
)
.moves(evaluate)
.since(Opset::Ios18)
.seen(ANEMLL);

/// # Shapes
/// `update` has the shape of the slice and at least one axis; the result is like `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let update = ctx.tensor("update")?;
    same_dtype("update", x, update)?;
    let slice = TensorType { dtype: x.dtype, shape: slice_shape(ctx, x)? };
    if update.rank() == 0 || !compatible_shapes(&slice.shape, &update.shape) {
        return Err(InferError::operand("update", format!("{slice}, the type of the slice, with axes"), update));
    }
    Ok(vec![x.clone().into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let update = call.take("update")?;
    let slice = StridedSlice::of(call, call.tensor("x")?.shape())?;
    if slice.shape != update.shape() {
        let expected = format!("a tensor of shape {:?}", slice.shape);
        return Err(InferError::operand("update", expected, update.ty()).into());
    }
    let mut x = call.take("x")?;
    x.write_strided(slice.start, &slice.strides, &update.reshaped(&slice.lengths)?)?;
    Ok(vec![x])
}

impl FunctionBuilder {
    /// Replaces the slice of `x` from `begin` to before `end`, both vectors of int32, by `update`. The strides are 1, and
    /// every mask is written.
    pub fn slice_update(
        &mut self,
        name: &str,
        x: &Var,
        update: &Var,
        begin: &Var,
        end: &Var,
        masks: &SliceMasks,
    ) -> Result<Var, BuildError> {
        let rank = x.tensor()?.rank();
        let mut call = self
            .call(&DECL, name)
            .operand("x", x)
            .operand("update", update)
            .operand("begin", begin)
            .operand("end", end)
            .constant("stride", Value::int32s(&vec![1; rank]));
        for (parameter, mask) in masks.parameters() {
            call = match mask {
                [] => call.constant(parameter, Value::bools(&vec![false; rank])),
                mask => call.constant(parameter, Value::bools(mask)),
            };
        }
        call.single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32};

    fn update(update: ValueType, end: &[i32]) -> Operands {
        Operands::default()
            .with("x", fp16(&[56, 8, 2048, 128]))
            .with("update", update)
            .constant("begin", Value::int32s(&[3, 0, 0, 0]))
            .constant("end", Value::int32s(end))
    }

    #[test]
    fn the_result_is_like_x() {
        let operands = update(fp16(&[1, 8, 1, 128]), &[4, 8, 1, 128]);
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[56, 8, 2048, 128])]));
    }

    #[test]
    fn an_update_of_another_shape_or_type_than_the_slice_is_refused() {
        assert!(update(fp16(&[1, 8, 1, 64]), &[4, 8, 1, 128]).infer(&DECL).is_err());
        assert!(update(fp16(&[8, 1, 128]), &[4, 8, 1, 128]).infer(&DECL).is_err());
        assert!(update(int32(&[1, 8, 1, 128]), &[4, 8, 1, 128]).infer(&DECL).is_err());
    }

    #[test]
    fn a_squeezed_axis_is_missing_from_the_update() {
        let squeeze = Value::bools(&[true, false, false, false]);
        let operands = update(fp16(&[8, 1, 128]), &[4, 8, 1, 128]).constant("squeeze_mask", squeeze);
        assert!(operands.infer(&DECL).is_ok());
    }

    #[test]
    fn a_scalar_update_is_refused() {
        let operands = Operands::default().with("x", fp16(&[4])).with("update", fp16(&[]));
        let operands = operands.constant("begin", Value::int32s(&[1])).constant("end", Value::int32s(&[2]));
        assert!(operands.constant("squeeze_mask", Value::bools(&[true])).infer(&DECL).is_err());
    }

    #[test]
    fn a_cache_is_updated_at_a_position_of_the_running_program() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let cache = builder.input("cache", fp16(&[2, 8, 512, 64]));
        let keys = builder.input("keys", fp16(&[1, 8, 1, 64]));
        let position = builder.input("position", int32(&[1]));
        let zero = builder.constant("zero", Value::int32s(&[0]));
        let one = builder.constant("one", Value::int32s(&[1]));
        let next = builder.add("next", &position, &one).expect("vectors of one");
        let begin = builder.concat("begin", &[&zero, &zero, &position, &zero], 0).expect("vectors");
        let end = builder.concat("end", &[&one, &zero, &next, &zero], 0).expect("vectors");
        assert_eq!(end.ty, int32(&[4]));
        let masks = SliceMasks { end_mask: vec![false, true, false, true], ..SliceMasks::default() };
        let updated = builder.slice_update("updated", &cache, &keys, &begin, &end, &masks).expect("within the cache");
        assert_eq!(updated.ty, cache.ty);
        let function = builder.finish(&[&updated]);
        let operation = function.block.operations.last().expect("just added");
        let given: Vec<_> = operation.inputs.keys().map(String::as_str).collect();
        assert_eq!(given, ["begin", "begin_mask", "end", "end_mask", "squeeze_mask", "stride", "update", "x"]);
    }
}
