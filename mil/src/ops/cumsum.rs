//! `cumsum`: running sums along an axis.

use super::decl::{BOOL, Effect, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter, Results, pending};
use super::shape::axis_or;
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "cumsum",
    doc: "Adds up `x` along `axis`, from one end to each element.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", NUMBERS),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("exclusive", BOOL).constant().defaulted(),
        Parameter::new("reverse", BOOL).constant().defaulted(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    axis_or(ctx, "axis", 0, x.rank())?;
    Ok(vec![x.clone().into()])
}
