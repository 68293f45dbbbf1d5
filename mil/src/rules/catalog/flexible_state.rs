//! Functions with states and flexible shapes.

use crate::rules::flexible;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "flexible-state",
    severity: Severity::Error,
    summary: "A function with states has fixed shapes only",
    scope: Scope::ALL,
    source: "john-rocky: states are written at wrong places; onnxsim issue 1430",
    conflict: Some("ane-book runs a range of 1 to 4 tokens with states"),
    fix: "write one function for every length",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    if view.states().next().is_none() {
        return;
    }
    for (index, _) in flexible::inputs(view) {
        sink.input(index, "the shape of the parameter is flexible in a function with states");
    }
}
