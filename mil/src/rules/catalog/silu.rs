//! The silu of the engine.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "silu",
    severity: Severity::Note,
    summary: "The built-in `silu` is off by about 1e-3 near 0",
    scope: Scope::ALL,
    source: "Anemll-forge",
    conflict: Some("coremltools fuses `x * sigmoid(x)` into it, and every published LLM uses it"),
    fix: "nothing, where quality is measured to be well; else `0.5 * x * (1 + tanh(0.5 * x))`",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let found = view.computing().filter(|(_, operation)| operation.op == "silu");
    sink.first_of(found.map(|(index, _)| index), "`silu` is off by about 1e-3 near 0");
}
