//! Flexible shapes.

use crate::rules::flexible;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "flexible-input",
    severity: Severity::Note,
    summary: "Shapes are fixed, with one function for every length",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md: the Neural Engine takes fixed shapes, others go to \
        CPU or GPU",
    conflict: Some("coremltools issues 1909 and 2370 report ranges that stay on the Neural Engine"),
    fix: "write one function for every length; for embeddings on the CPU nothing is lost",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    for (index, _) in flexible::inputs(view) {
        sink.input(index, "the shape of the parameter is flexible");
    }
}
