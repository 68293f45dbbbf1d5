//! `slice_by_index`: the part of a tensor between two corners.

use super::decl::{BOOL, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::shape::{MOVED_X, positions};
use super::slice::{SliceMasks, StridedSlice, slice_shape};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "slice_by_index",
    "Takes every `stride`-th element of `x` from `begin` to before `end`, axis by axis.",
    &[
        MOVED_X,
        positions("begin").group('U'),
        positions("end").group('U'),
        positions("stride").group('U').constant().optional(),
        Parameter::new("begin_mask", BOOL).constant().optional(),
        Parameter::new("end_mask", BOOL).constant().optional(),
        Parameter::new("squeeze_mask", BOOL).constant().optional(),
    ],
    infer,
)
.moves(evaluate)
.seen(SILERO)
.renewed(&[Opset::Ios17, Opset::Ios18]);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    Ok(vec![TensorType { dtype: x.dtype, shape: slice_shape(ctx, x)? }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let slice = StridedSlice::of(call, x.shape())?;
    Ok(vec![x.strided(slice.start, &slice.lengths, &slice.strides)?.reshaped(&slice.shape)?])
}

impl FunctionBuilder {
    /// Takes `x` from `begin` to before `end`. Masks that are empty are not written.
    pub fn slice_by_index(
        &mut self,
        name: &str,
        x: &Var,
        begin: &[i32],
        end: &[i32],
        masks: &SliceMasks,
    ) -> Result<Var, BuildError> {
        let mut call = self
            .call(&DECL, name)
            .operand("x", x)
            .constant("begin", Value::int32s(begin))
            .constant("end", Value::int32s(end));
        for (parameter, mask) in masks.parameters() {
            if !mask.is_empty() {
                call = call.constant(parameter, Value::bools(mask));
            }
        }
        call.single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, int32};

    fn slice(x: &[i64], begin: &[i32], end: &[i32]) -> Operands {
        Operands::default()
            .with("x", fp16(x))
            .constant("begin", Value::int32s(begin))
            .constant("end", Value::int32s(end))
    }

    #[test]
    fn the_end_mask_opens_axes() {
        let operands = slice(&[1, 7, 4096], &[0, 0, 0], &[1, 1, 2048]);
        let operands = operands.constant("end_mask", Value::bools(&[true, true, false]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[1, 7, 2048])]));
    }

    #[test]
    fn squeezed_axes_go_and_their_end_does_not_matter() {
        let operands = slice(&[3, 5], &[1, 2], &[0, 4]).constant("squeeze_mask", Value::bools(&[true, false]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[2])]));
        let all = slice(&[3, 5], &[1, -5], &[0, 0]).constant("squeeze_mask", Value::bools(&[true, true]));
        assert_eq!(all.infer(&DECL), Ok(vec![fp16(&[])]));
        let outside = slice(&[3, 5], &[3, 0], &[4, 5]).constant("squeeze_mask", Value::bools(&[true, false]));
        assert!(outside.infer(&DECL).is_err());
    }

    #[test]
    fn bounds_of_the_running_program_leave_lengths_open_but_not_the_rank() {
        let x = Operands::default().with("x", fp16(&[3, 5]));
        let operands = x.clone().with("begin", int32(&[2])).with("end", int32(&[2]));
        let operands = operands.constant("squeeze_mask", Value::bools(&[true, false]));
        assert_eq!(operands.infer(&DECL), Ok(vec![fp16(&[-1])]));
        assert!(x.with("begin", int32(&[3])).with("end", int32(&[2])).infer(&DECL).is_err());
    }

    #[test]
    fn every_vector_has_an_element_per_axis() {
        assert!(slice(&[3, 5], &[0], &[3, 5]).infer(&DECL).is_err());
        assert!(slice(&[3, 5], &[0, 0], &[3]).infer(&DECL).is_err());
        let operands = slice(&[3, 5], &[0, 0], &[3, 5]);
        assert!(operands.clone().constant("stride", Value::int32s(&[1])).infer(&DECL).is_err());
        assert!(operands.clone().constant("begin_mask", Value::bools(&[true; 3])).infer(&DECL).is_err());
        assert!(operands.constant("stride", Value::int32s(&[1, 0])).infer(&DECL).is_err());
    }

    #[test]
    fn the_builder_writes_the_masks_that_are_given() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 4, 64]));
        let masks = SliceMasks { end_mask: vec![true, true, false], ..SliceMasks::default() };
        let half = builder.slice_by_index("half", &x, &[0, 0, 0], &[1, 4, 32], &masks).expect("within x");
        assert_eq!(half.ty, fp16(&[1, 4, 32]));
        let function = builder.finish(&[&half]);
        let operation = function.block.operations.last().expect("just added");
        assert_eq!(operation.inputs.keys().collect::<Vec<_>>(), ["begin", "end", "end_mask", "x"]);
    }
}
