//! Convolutions whose weight is computed.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "runtime-weight",
    severity: Severity::Warning,
    summary: "The weight of a convolution is a constant",
    scope: Scope::ALL,
    source: "Core ML needs it; the compiler below ignores such a convolution without a word (maderix/ANE)",
    conflict: None,
    fix: "`matmul`, which takes weights as parameters",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("conv") && site.name("weight").is_some_and(|name| !site.view.is_constant(name)) {
        sink.operation(site.index, "the weight of the convolution is computed at run time");
    }
}
