//! Shapes that depend on data.

use crate::rules::flexible;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "unknown-shape",
    severity: Severity::Warning,
    summary: "Every shape follows from the shapes of the parameters",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md: fully static graphs; onnxsim issue 1430",
    conflict: None,
    fix: "slice at constant places, and mask instead of cutting",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    if !flexible::inputs(view).is_empty() {
        return;
    }
    let unknown =
        |ty: &crate::TensorType| ty.element_count().is_none() && ty.shape.iter().any(|axis| axis.fixed().is_none());
    let found = view
        .computing()
        .filter(|(_, operation)| operation.outputs.iter().filter_map(|output| output.ty.as_tensor()).any(unknown));
    sink.first_of(found.map(|(index, _)| index), "the shape of the result depends on data");
}
