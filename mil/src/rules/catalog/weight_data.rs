//! Weights that are not in their file.

use std::collections::BTreeMap;

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "weight-data",
    severity: Severity::Error,
    summary: "Every weight is in its file, with the type and size that the program says",
    scope: Scope::ALL,
    source: "Core ML's own error, `Could not open weights/weight.bin`: apple/ml-stable-diffusion issue 5",
    conflict: None,
    fix: "copy the weight file again, whole; it belongs to the same package as the program",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let Some(constants) = view.subject.constants else { return };
    // A file that is missing is said once.
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, operation) in view.operations().iter().enumerate() {
        for (_, value) in operation.values() {
            let (Some(blob), Some(ty)) = (value.as_blob(), value.tensor_type()) else { continue };
            if let Some(problem) = constants.problem(blob, ty) {
                let indices = found.entry(problem).or_default();
                if indices.last() != Some(&index) {
                    indices.push(index);
                }
            }
        }
    }
    for (problem, indices) in found {
        sink.first_of(indices.into_iter(), &problem);
    }
}
