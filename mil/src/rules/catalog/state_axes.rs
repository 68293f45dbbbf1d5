//! Axes of states.

use crate::rules::limits::STATE_MULTIPLE;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-axes",
    severity: Severity::Error,
    summary: "The last two axes of a state are multiples of 32",
    scope: Scope::ALL,
    source: "coremltools issue 2631 (270 fails, 256 works, M4); SqueezeBits",
    conflict: Some(
        "the issue says every axis; the leading axes of ANEMLL states, [56, 8, 2048, 128], are not and \
        work",
    ),
    fix: "pad context length and head size",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    for (index, _, ty) in view.states() {
        let sizes = ty.shape.iter().rev().take(2).filter_map(|axis| axis.fixed());
        for size in sizes.filter(|size| !size.is_multiple_of(STATE_MULTIPLE)) {
            sink.input(index, format!("an axis of the state is {size} long, expected a multiple of {STATE_MULTIPLE}"));
        }
    }
}
