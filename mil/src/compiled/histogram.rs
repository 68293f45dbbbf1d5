//! How often each op occurs, as `metadata.json` counts them.
//!
//! An op is called by the operation set that last changed it for Core ML's compiler, up to the function's own; its
//! declaration says which ones did.

use std::collections::BTreeMap;

use crate::ops::{self, special};
use crate::opset::Opset;
use crate::program::{Block, Function};

/// Counts of every op but constants, by the compiler's name. Those of nested blocks count, too.
pub(super) fn of(functions: &[&Function]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for function in functions {
        add(&function.block, function.opset, &mut counts);
    }
    counts
}

fn add(block: &Block, opset: Opset, counts: &mut BTreeMap<String, u64>) {
    for operation in block.operations.iter().filter(|operation| operation.op != special::CONST) {
        *counts.entry(name(&operation.op, opset)).or_insert(0) += 1;
        for block in &operation.blocks {
            add(block, opset, counts);
        }
    }
}

fn name(op: &str, opset: Opset) -> String {
    let sets = ops::find(op).map_or(ops::decl::RENEWED, |decl| decl.renewed);
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
