//! Choosing the best token inside the model.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "argmax",
    severity: Severity::Note,
    summary: "No argmax in the model",
    scope: Scope::ALL,
    source: "ANEForge: runs on no Neural Engine; john-rocky: the tail lands on the CPU; coreai-torch issue \
        116 (wrong on iPhone 17 Pro); indices are exact in fp16 below 2048",
    conflict: Some("john-rocky finds it cheaper on the CPU than handing over 151936 logits"),
    fix: "return logits and choose in the client, or check the choice on the device",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("reduce_argmax") || site.is("reduce_argmin") {
        sink.operation(site.index, format!("`{}` runs on the CPU", site.operation.op));
    }
}
