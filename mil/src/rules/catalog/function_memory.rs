//! Functions that share weights.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::ProgramView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "function-memory",
    severity: Severity::Note,
    summary: "Every loaded function holds its own copy of the weights in device memory",
    scope: Scope::ALL,
    source: "Anemll-forge (0.69 GB on disk: 1.05 GB with one function, 2.09 with two); VoxCPMANE2; \
        coremltools issue 2351",
    conflict: None,
    fix: "load one function at a time, or convert with one function for prefill and decoding",
    check: Check::Program(check),
};

fn check(view: &ProgramView<'_>, sink: &mut Sink<'_>) {
    let count = view.functions.len();
    if count > 1 {
        sink.whole(format!(
            "{count} functions hold {count} copies of the weights in device memory when all are loaded"
        ));
    }
}
