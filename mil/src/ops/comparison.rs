//! Comparisons of two elements.

use std::cmp::Ordering;

use super::binary::pair;
use super::decl::OpDecl;
use super::elementwise::{NUMBER_X_Y, compare_x_y, order_x_y};
use super::evidence::{ANEFORGE, ANEMLL, KOKORO};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::EvaluateFn;

const fn comparison(name: &'static str, doc: &'static str, evaluate: EvaluateFn) -> OpDecl {
    OpDecl::new(name, doc, NUMBER_X_Y, compare_x_y).moves(evaluate)
}

/// Equality.
pub static EQUAL: OpDecl =
    comparison("equal", "Tells where `x` equals `y`.", |call| order_x_y(call, |order| order == Some(Ordering::Equal)))
        .seen(KOKORO);
/// Greater.
pub static GREATER: OpDecl = comparison("greater", "Tells where `x` is greater than `y`.", |call| {
    order_x_y(call, |order| order == Some(Ordering::Greater))
})
.seen(KOKORO);
/// Greater or equal.
pub static GREATER_EQUAL: OpDecl = comparison("greater_equal", "Tells where `x` is at least `y`.", |call| {
    order_x_y(call, |order| matches!(order, Some(Ordering::Greater | Ordering::Equal)))
})
.seen(ANEMLL);
/// Less.
pub static LESS: OpDecl = comparison("less", "Tells where `x` is less than `y`.", |call| {
    order_x_y(call, |order| order == Some(Ordering::Less))
})
.seen(KOKORO);
/// Less or equal.
pub static LESS_EQUAL: OpDecl = comparison("less_equal", "Tells where `x` is at most `y`.", |call| {
    order_x_y(call, |order| matches!(order, Some(Ordering::Less | Ordering::Equal)))
})
.seen(ANEFORGE);
/// Difference.
pub static NOT_EQUAL: OpDecl = comparison("not_equal", "Tells where `x` differs from `y`.", |call| {
    order_x_y(call, |order| order != Some(Ordering::Equal))
})
.seen(ANEFORGE);

impl FunctionBuilder {
    /// Tells where `x` equals `y`.
    pub fn equal(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        pair(self, &EQUAL, name, x, y)
    }

    /// Tells where `x` is at least `y`.
    pub fn greater_equal(&mut self, name: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        pair(self, &GREATER_EQUAL, name, x, y)
    }
}
