//! `slice_update`: a tensor with the part between two corners replaced.

use super::decl::{BOOL, Effect, InferError, OpContext, OpDecl, POSITIONS, Parameter, Results};
use super::shape::{ELEMENTS, compatible_shapes, same_dtype};
use super::slice::{SliceMasks, slice_shape};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "slice_update",
    doc: "Replaces the slice of `x` from `begin` to before `end` by `update`.",
    since: Opset::Ios18,
    parameters: &[
        Parameter::new("x", ELEMENTS).group('T'),
        Parameter::new("update", ELEMENTS).group('T'),
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
