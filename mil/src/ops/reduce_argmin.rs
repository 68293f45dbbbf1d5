//! `reduce_argmin`: the index of the smallest element along an axis.

use std::cmp::Ordering;

use super::decl::{Effect, Evidence, OpDecl, Results};
use super::reduce::{INDEX_ALONG_AXIS, index_along_axis, infer_index_along_axis};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "reduce_argmin",
    doc: "Finds the index of the smallest element of `x` along `axis`.",
    since: Opset::Ios15,
    parameters: INDEX_ALONG_AXIS,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: infer_index_along_axis,
    evaluate: Evaluate::Moves(|call| index_along_axis(call, Ordering::Less)),
    evidence: Evidence::None,
    renewed: &[Opset::Ios17],
};
