//! `argsort`: where the elements along an axis would stand in order.

use super::decl::{BOOL, INT32, NUMBERS, OpDecl, Parameter};
use super::reduce::index_elements;
use super::shape::axis_or;
use super::topk::first_of_each_lane;
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, along_axis};
use crate::types::TensorType;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "argsort",
    "The indices that sort `x` along `axis`, the largest first unless `ascending`.",
    &[
        Parameter::new("x", NUMBERS),
        Parameter::new("axis", INT32).constant().defaulted(),
        Parameter::new("ascending", BOOL).constant().defaulted(),
    ],
    |ctx| {
        let x = ctx.tensor("x")?;
        axis_or(ctx, "axis", -1, x.rank())?;
        Ok(vec![TensorType { dtype: DataType::Int32, shape: x.shape.clone() }.into()])
    },
)
.moves(evaluate);

/// The first of equal elements comes first.
fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", -1, x.rank())?;
    let lanes = along_axis(x.shape(), axis);
    let ascending = call.bool_or("ascending", false)?;
    let indices = if x.dtype().is_float() {
        first_of_each_lane(&x.as_floats()?, lanes, lanes[1], ascending).1
    } else {
        first_of_each_lane(&x.as_integers()?, lanes, lanes[1], ascending).1
    };
    Ok(vec![Tensor::integers(DataType::Int32, x.shape(), index_elements(DataType::Int32, &indices)?)?])
}
