//! Top-k inside the model.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "top-k",
    severity: Severity::Warning,
    summary: "No `topk` in the model",
    scope: Scope::ALL,
    source: "coreai-torch issues 66 (1.75 ms a call on A19 Pro) and 115 (wrong results with a gather after \
        it); ANEForge",
    conflict: None,
    fix: "return logits and choose in the client",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("topk") {
        sink.operation(site.index, "`topk` is slow, or runs on the CPU");
    }
}
