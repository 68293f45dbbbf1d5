//! `reduce_argmax`: the index of the largest element along an axis.

use std::cmp::Ordering;

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::reduce::{INDEX_ALONG_AXIS, index_along_axis, infer_index_along_axis};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_argmax",
    doc: "Finds the index of the largest element of `x` along `axis`.",
    since: Opset::Ios15,
    parameters: INDEX_ALONG_AXIS,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_index_along_axis,
    evaluate: Evaluate::Moves(|call| index_along_axis(call, Ordering::Greater)),
    evidence: Evidence::None,
    renewed: &[Opset::Ios17],
};

impl FunctionBuilder {
    /// Finds the int32 index of the largest element of `x` along `axis`, which stays with length 1 where `keep_dims` is
    /// set.
    pub fn reduce_argmax(&mut self, name: &str, x: &Var, axis: i32, keep_dims: bool) -> Result<Var, BuildError> {
        self.call(&DECL, name)
            .operand("x", x)
            .constant("axis", Value::int32(axis))
            .constant("keep_dims", Value::bool(keep_dims))
            .constant("output_dtype", Value::string("int32"))
            .single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{fp16, int32};

    #[test]
    fn the_builder_writes_every_default() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 8, 4]));
        let y = builder.reduce_argmax("y", &x, -1, false).expect("x has three axes");
        assert_eq!(y.ty, int32(&[1, 8]));
        let function = builder.finish(&[&y]);
        let operation = function.block.operations.last().expect("just added");
        assert_eq!(operation.inputs.keys().collect::<Vec<_>>(), ["axis", "keep_dims", "output_dtype", "x"]);
    }
}
