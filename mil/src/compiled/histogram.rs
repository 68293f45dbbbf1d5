//! How often each op occurs, as `metadata.json` counts them.
//!
//! An op is called by the operation set that last changed it for Core ML's compiler, up to the function's own. Which ones
//! did is known for the ops of published models only; for the others the prefix is likely and means nothing to a reader.

use std::collections::BTreeMap;

use crate::ops::special;
use crate::opset::Opset;
use crate::program::Function;

use Opset::{Ios16, Ios17, Ios18};

/// What most ops have: every set brought them anew.
const MOST: &[Opset] = &[Ios16, Ios17, Ios18];

/// Ops that not every set brought anew.
///
/// # Source
/// `metadata.json` of 46 compiled models.
const OTHERS: [(&str, &[Opset]); 29] = [
    ("constexpr_affine_dequantize", &[Ios16]),
    ("constexpr_sparse_to_dense", &[Ios16]),
    ("expand_dims", &[Ios17, Ios18]),
    ("identity", &[]),
    ("pad", &[]),
    ("range_1d", &[]),
    ("reduce_argmax", &[Ios17]),
    ("reduce_argmin", &[Ios17]),
    ("reduce_l2_norm", &[Ios16]),
    ("reduce_log_sum_exp", &[Ios16]),
    ("reduce_max", &[Ios16]),
    ("reduce_mean", &[Ios16]),
    ("reduce_min", &[Ios16]),
    ("reduce_sum", &[Ios16]),
    ("reduce_sum_square", &[Ios16]),
    ("relu", &[Ios16, Ios18]),
    ("reshape", &[Ios17, Ios18]),
    ("select", &[]),
    ("shape", &[]),
    ("sigmoid", &[Ios16, Ios18]),
    ("silu", &[Ios16, Ios18]),
    ("slice_by_index", &[Ios17, Ios18]),
    ("softmax", &[Ios16, Ios18]),
    ("split", &[]),
    ("squeeze", &[Ios17, Ios18]),
    ("stack", &[]),
    ("tanh", &[Ios16, Ios18]),
    ("tile", &[]),
    ("transpose", &[Ios17, Ios18]),
];

/// Counts of every op but constants, by the compiler's name.
pub(super) fn of(function: &Function) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let operations = function.block.operations.iter().filter(|operation| operation.op != special::CONST);
    for operation in operations {
        *counts.entry(name(&operation.op, function.opset)).or_insert(0) += 1;
    }
    counts
}

fn name(op: &str, opset: Opset) -> String {
    let sets = OTHERS.iter().find(|row| row.0 == op).map_or(MOST, |row| row.1);
    let words = op.split('_').map(capitalized).collect::<String>();
    match sets.iter().rev().find(|set| **set <= opset) {
        Some(set) => {
            let first = words.chars().take(1).map(|c| c.to_ascii_lowercase());
            let rest: String = first.chain(words.chars().skip(1)).collect();
            format!("{}.{rest}", capitalized(set.text_name()))
        }
        None => words,
    }
}

fn capitalized(word: &str) -> String {
    let first = word.chars().take(1).map(|c| c.to_ascii_uppercase());
    first.chain(word.chars().skip(1)).collect()
}
