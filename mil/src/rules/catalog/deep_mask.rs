//! Masks that leave no room.

use crate::rules::mask;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "deep-mask",
    severity: Severity::Warning,
    summary: "Masks are not below -4e4: with the scores added they leave fp16",
    scope: Scope::ALL,
    source: "Apple, ml-ane-transformers (-4e4); ANEMLL (-1e4)",
    conflict: Some("maderix/ANE uses -65504"),
    fix: "-10000 instead",
    check: Check::Function(check),
};

/// The lowest value that leaves room for scores.
const LOWEST: f64 = -4e4;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    for (index, lowest) in mask::constants(view) {
        if lowest.is_finite() && lowest < LOWEST {
            sink.operation(
                index,
                format!("a constant that is added to attention scores holds {lowest}, expected {LOWEST} or more"),
            );
        }
    }
}
