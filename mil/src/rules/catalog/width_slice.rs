//! Slices of the last axis away from its start.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{self, FunctionView};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "width-slice",
    severity: Severity::Note,
    summary: "In functions with states, the last axis is not sliced away from its start",
    scope: Scope::ALL,
    source: "Anemll-forge: wrong values",
    conflict: Some("the rotary halves of ANEMLL models are such slices and come out right"),
    fix: "slice another axis, or multiply with a constant that selects",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    if view.states().next().is_none() {
        return;
    }
    let found = view.computing().filter(|(_, operation)| {
        let slices = operation.op == "slice_by_index" || operation.op == "slice_by_size";
        let begin = view::constant(view, operation, "begin").and_then(crate::Value::as_ints).unwrap_or_default();
        slices && begin.last().is_some_and(|begin| *begin != 0)
    });
    sink.first_of(found.map(|(index, _)| index), "the slice starts inside the last axis");
}
