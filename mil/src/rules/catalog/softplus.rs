//! Softplus in fp16.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "softplus",
    severity: Severity::Warning,
    summary: "No `softplus`: it gives 0 above about 11",
    scope: Scope::ALL,
    source: "Anemll-forge",
    conflict: None,
    fix: "`relu(x) + log(1 + exp(-abs(x)))`",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("softplus") || site.is("softplus_parametric") {
        sink.operation(site.index, format!("`{}` gives 0 above about 11 in fp16", site.operation.op));
    }
}
