//! Parameters that the model description does not have.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "undescribed-parameter",
    severity: Severity::Error,
    summary: "Every parameter of a function, states among them, is in its description",
    scope: Scope::ALL,
    source: "coremltools issues 2275 and 2278: `MIL program input not found in Core ML model inputs`",
    conflict: None,
    fix: "add the input or state to the description of the function",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let Some(description) = view.subject.description.and_then(|description| description.function(view.name)) else {
        return;
    };
    for (index, input) in view.function.inputs.iter().enumerate() {
        let mut described = description.inputs.iter().chain(&description.states);
        if !described.any(|feature| feature.name == input.name) {
            sink.input(index, "the parameter is not in the description of the function");
        }
    }
}
