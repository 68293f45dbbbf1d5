//! Powers.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "power",
    severity: Severity::Warning,
    summary: "No `pow`",
    scope: Scope::ALL,
    source: "SqueezeBits; ANEForge",
    conflict: Some("a scan of single ops on M4 with macOS 27 finds it eligible"),
    fix: "multiply, or use `square`, `sqrt` and `rsqrt`",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("pow") {
        sink.operation(site.index, "`pow` is slow or leaves the Neural Engine");
    }
}
