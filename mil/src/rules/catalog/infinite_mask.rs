//! Masks of minus infinity.

use crate::rules::mask;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "infinite-mask",
    severity: Severity::Warning,
    summary: "Masks are finite: -1e4 to -4e4, never -inf",
    scope: Scope::ALL,
    source: "Apple, ml-ane-transformers (-4e4 and less); ANEMLL; coremltools issue 2716",
    conflict: Some("john-rocky finds -inf to give the same bits"),
    fix: "-10000 instead",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    for (index, lowest) in mask::constants(view) {
        if lowest == f64::NEG_INFINITY {
            sink.operation(index, "a constant that is added to attention scores holds -inf");
        }
    }
}
