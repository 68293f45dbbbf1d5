//! Layer norms under enumerated shapes.

use crate::rules::flexible::{self, Flexibility};
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "enumerated-layer-norm",
    severity: Severity::Warning,
    summary: "A function with enumerated shapes has no `layer_norm`",
    scope: Scope::ALL,
    source: "coremltools issues 1909 and 2370",
    conflict: None,
    fix: "fix the shape, or use a range of shapes",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    if !flexible::inputs(view).iter().any(|(_, flexibility)| *flexibility == Flexibility::Enumerated) {
        return;
    }
    if let Some((index, _)) = view.computing().find(|(_, operation)| operation.op == "layer_norm") {
        sink.operation(index, "`layer_norm` leaves the Neural Engine where shapes are enumerated");
    }
}
