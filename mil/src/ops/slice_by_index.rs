//! `slice_by_index`: the part of a tensor between two corners.

use super::decl::{BOOL, Effect, InferError, OpContext, OpDecl, POSITIONS, Parameter, Results};
use super::shape::ELEMENTS;
use super::slice::{SliceMasks, slice_shape};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "slice_by_index",
    doc: "Takes every `stride`-th element of `x` from `begin` to before `end`, axis by axis.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", ELEMENTS),
        Parameter::new("begin", POSITIONS).group('U'),
        Parameter::new("end", POSITIONS).group('U'),
        Parameter::new("stride", POSITIONS).group('U').constant().optional(),
        Parameter::new("begin_mask", BOOL).constant().optional(),
        Parameter::new("end_mask", BOOL).constant().optional(),
        Parameter::new("squeeze_mask", BOOL).constant().optional(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    Ok(vec![TensorType { dtype: x.dtype, shape: slice_shape(ctx, x)? }.into()])
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
