//! Ops that leave the Neural Engine.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "cpu-op",
    severity: Severity::Warning,
    summary: "No ops that run on the CPU: control flow, scatters, sorts, recurrences, logic on booleans",
    scope: Scope::ALL,
    source: "ANEForge; john-rocky; apple/coreai-models neural_engine_rules.md; rf-detr issue 1495 (M3 Pro)",
    conflict: Some(
        "a scan of single ops on M4 with macOS 27 finds 100 of 130 eligible; in real graphs these were \
        seen on the CPU",
    ),
    fix: "compute it in the client, or with masks and products",
    check: Check::Operation(check),
};

/// The ops.
const OPS: &[&str] = &[
    "argsort",
    "cond",
    "cumsum",
    "gather_along_axis",
    "gather_nd",
    "gru",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lstm",
    "mod",
    "non_maximum_suppression",
    "non_zero",
    "rnn",
    "scatter",
    "scatter_along_axis",
    "scatter_nd",
    "while_loop",
];

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if OPS.binary_search(&site.operation.op.as_str()).is_ok() {
        sink.operation(site.index, format!("`{}` runs on the CPU", site.operation.op));
    }
}
