//! Slice updates of what is no state.

use crate::ops::special;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "standalone-slice-update",
    severity: Severity::Warning,
    summary: "`slice_update` serves to write a state and nothing else",
    scope: Scope::ALL,
    source: "anemll-profile: `Cannot support standalone slice_update`; coremltools issue 1103",
    conflict: None,
    fix: "`concat`, or a product with a mask",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("slice_update") {
        return;
    }
    let result = site.operation.outputs.first().map(|output| output.name.as_str()).unwrap_or_default();
    let continues = |user: &usize| {
        let operation = site.view.operations().get(*user);
        operation.is_some_and(|user| user.op == special::WRITE_STATE || user.op == site.operation.op)
    };
    if !site.view.users(result).iter().any(continues) {
        sink.operation(site.index, "`slice_update` runs on the CPU where its result is not written to a state");
    }
}
