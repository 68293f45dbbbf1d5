//! Copies of keys and values.

use std::collections::BTreeSet;

use crate::program::{Binding, Operation};
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "kv-copy",
    severity: Severity::Warning,
    summary: "Keys and values are not copied for the query heads that share them",
    scope: Scope::ALL,
    source: "executorch pull request 16144: 10 to 15 % faster without",
    conflict: None,
    fix: "stack the queries of one KV head: [1, kv_heads, group * tokens, head_dim] times the keys as \
        they are",
    check: Check::Function(check),
};

/// Ops that pass elements on as they are.
const MOVES: &[&str] = &[
    "cast",
    "concat",
    "expand_dims",
    "identity",
    "reshape",
    "slice_by_index",
    "slice_by_size",
    "squeeze",
    "transpose",
];

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let mut multiplied: BTreeSet<&str> = BTreeSet::new();
    let mut copies = Vec::new();
    for (index, operation) in view.operations().iter().enumerate().rev() {
        let used = operation.outputs.iter().any(|output| multiplied.contains(output.name.as_str()));
        let op = operation.op.as_str();
        if op == "matmul" || used && MOVES.binary_search(&op).is_ok() {
            multiplied.extend(operation.referenced_names());
        }
        if used && (op == "tile" || repeats(operation)) {
            copies.push(index);
        }
    }
    for index in copies.into_iter().rev() {
        sink.operation(index, "an operand of `matmul` is copied for every query head of its group");
    }
}

/// Whether one value is joined with itself.
fn repeats(operation: &Operation) -> bool {
    let Some(values) = operation.inputs.get("values") else { return false };
    let mut names = values.0.iter().map(|binding| match binding {
        Binding::Name(name) => Some(name),
        Binding::Value(_) => None,
    });
    let first = names.next().flatten();
    values.0.len() > 1 && first.is_some() && names.all(|name| name == first)
}
