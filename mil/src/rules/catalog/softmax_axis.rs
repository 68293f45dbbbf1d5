//! Softmax over rows that are not aligned.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "softmax-axis",
    severity: Severity::Note,
    summary: "Softmax runs over the channels, or over a last axis whose length is a multiple of 32",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md",
    conflict: None,
    fix: "pad the axis to a multiple of 32 and mask what is added",
    check: Check::Operation(check),
};

/// Elements of fp16 that fill 64 bytes.
const ALIGNED: u64 = 32;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("softmax") {
        return;
    }
    let Some(ty) = site.tensor("x") else { return };
    let rank = i64::try_from(ty.rank()).unwrap_or(i64::MAX);
    let axis = site.constant("axis").and_then(crate::Value::as_int).unwrap_or(-1);
    let last = ty.shape.last().and_then(|size| size.fixed());
    if let Some(size) = last.filter(|size| (axis == -1 || axis == rank - 1) && !size.is_multiple_of(ALIGNED)) {
        sink.operation(
            site.index,
            format!("softmax runs over a last axis of {size}, which is no multiple of {ALIGNED}"),
        );
    }
}
