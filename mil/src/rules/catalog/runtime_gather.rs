//! Gathers by indices that are computed.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{self, FunctionView};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "runtime-gather",
    severity: Severity::Note,
    summary: "Nothing is gathered by indices that are known at run time only",
    scope: Scope::ALL,
    source: "ANEForge; john-rocky; apple/coreai-models neural_engine_rules.md",
    conflict: Some(
        "a scan of single ops on M4 with macOS 27 finds `gather` eligible; ANEMLL gathers its rotary \
        tables once a function",
    ),
    fix: "hand rotary tables and masks over as parameters",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let found = view.computing().filter(|(_, operation)| {
        let indices = operation.inputs.get("indices").and_then(view::name);
        operation.op == "gather" && indices.is_some_and(|indices| !view.is_constant(indices))
    });
    sink.first_of(found.map(|(index, _)| index), "the indices are computed, and the gather may run on the CPU");
}
