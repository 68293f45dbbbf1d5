//! States of unusual rank.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-rank",
    severity: Severity::Warning,
    summary: "States have 4 axes",
    scope: Scope::ALL,
    source: "coremltools issue 2553: two states of 3 axes fail on the Neural Engine only",
    conflict: Some("the issue does not tell whether the rank or the number of states is to blame"),
    fix: "add an axis of length 1",
    check: Check::Function(check),
};

/// Axes of the states of models that work.
const AXES: usize = 4;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    for (index, _, ty) in view.states().filter(|(_, _, ty)| ty.rank() != AXES) {
        sink.input(index, format!("the state has {} axes, expected {AXES}", ty.rank()));
    }
}
