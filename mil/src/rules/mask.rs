//! Constants that are added to attention scores.

use std::collections::BTreeSet;

use super::view::FunctionView;
use crate::ops::special;

/// Ops through which the elements of a mask reach the scores.
const CARRIERS: &[&str] = &[
    "add",
    "cast",
    "concat",
    "expand_dims",
    "gather",
    "identity",
    "reshape",
    "select",
    "slice_by_index",
    "slice_by_size",
    "squeeze",
    "sub",
    "tile",
    "transpose",
];

/// The constants from which masks are made, with their smallest elements where those can be read.
///
/// A constant counts if it reaches the operand of a `softmax` through additions, selections and moves.
pub(super) fn constants(view: &FunctionView<'_>) -> Vec<(usize, f64)> {
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for (index, operation) in view.operations().iter().enumerate().rev() {
        let used = operation.outputs.iter().any(|output| added.contains(output.name.as_str()));
        if operation.op == "softmax" || used && CARRIERS.binary_search(&operation.op.as_str()).is_ok() {
            added.extend(operation.referenced_names());
        }
        if used && operation.op == special::CONST {
            let lowest = operation.attributes.get("val").and_then(|value| view.range(value));
            found.extend(lowest.map(|(lowest, _)| (index, lowest)));
        }
    }
    found.reverse();
    found
}
