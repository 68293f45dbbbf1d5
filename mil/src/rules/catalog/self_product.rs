//! Products of a value with itself.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "self-product",
    severity: Severity::Warning,
    summary: "In functions with states, no `matmul` takes one value twice",
    scope: Scope::ALL,
    source: "Anemll-forge: the program does not load (-14)",
    conflict: None,
    fix: "copy the value through another operation, or compute the product differently",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let twice = site.is("matmul") && site.name("x").is_some() && site.name("x") == site.name("y");
    if twice && site.view.states().next().is_some() {
        sink.operation(site.index, "`matmul` takes one value twice in a function with states");
    }
}
