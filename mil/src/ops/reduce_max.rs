//! `reduce_max`: the largest element over some axes.

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::elementwise::larger;
use super::reduce::{OVER_AXES, infer_over_axes, over_axes};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_max",
    doc: "Finds the largest element of `x` over `axes`.",
    since: Opset::Ios15,
    parameters: OVER_AXES,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_over_axes,
    evaluate: Evaluate::Computes(|call| {
        over_axes(call, |lane| lane.iter().copied().reduce(larger), |lane| lane.iter().copied().max())
    }),
    evidence: Evidence::None,
    renewed: &[Opset::Ios16],
};

impl FunctionBuilder {
    /// Finds the largest element of `x` over `axes`, which stay with length 1 where `keep_dims` is set.
    pub fn reduce_max(&mut self, name: &str, x: &Var, axes: &[i32], keep_dims: bool) -> Result<Var, BuildError> {
        self.call(&DECL, name)
            .operand("x", x)
            .constant("axes", Value::int32s(axes))
            .constant("keep_dims", Value::bool(keep_dims))
            .single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::fp16;

    #[test]
    fn the_builder_writes_axes_and_keep_dims() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 8, 4]));
        let y = builder.reduce_max("y", &x, &[-1], true).expect("x has three axes");
        assert_eq!(y.ty, fp16(&[1, 8, 1]));
        let function = builder.finish(&[&y]);
        let operation = function.block.operations.last().expect("just added");
        assert_eq!(operation.inputs.keys().collect::<Vec<_>>(), ["axes", "keep_dims", "x"]);
    }
}
