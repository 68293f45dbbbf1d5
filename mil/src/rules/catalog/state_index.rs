//! States that are written at a computed place.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{self, FunctionView};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-index",
    severity: Severity::Note,
    summary: "States are written at constant places, or through a mask",
    scope: Scope::ALL,
    source: "coreai-models issue 5 and coreai-torch issue 6: crashes on load with computed places",
    conflict: Some("these are reports about Core AI; ANEMLL and CoreML-LLM write this way through Core ML and run"),
    fix: "a mask that is handed over: `old * (1 - mask) + new * mask`",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let found = view.computing().filter(|(_, operation)| {
        let begin = operation.inputs.get("begin").and_then(view::name);
        operation.op == "slice_update" && begin.is_some_and(|name| !view.is_constant(name))
    });
    sink.first_of(found.map(|(index, _)| index), "the state is written at a computed place");
}
