//! States of different shapes on the first chips.

use crate::rules::chip::STATES_OF_ONE_SHAPE;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-shapes",
    severity: Severity::Error,
    summary: "On A14 and M1 all states of a model have one shape",
    scope: Scope::only(STATES_OF_ONE_SHAPE),
    source: "ANEMLL 0.3.5 release notes (Gemma 3, local and global layers)",
    conflict: None,
    fix: "one state of the larger shape for all layers",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let mut states = view.states();
    let Some((_, first, expected)) = states.next() else { return };
    for (index, _, ty) in states.filter(|(_, _, ty)| *ty != expected) {
        sink.input(index, format!("the state is {ty}, but {expected} is `{first}`"));
    }
}
