//! Sines and cosines on older chips.

use crate::rules::chip::Chip;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "trigonometry",
    severity: Severity::Warning,
    summary: "No `sin` and `cos` before A15 and M2",
    scope: Scope::chips(&[Chip::A14, Chip::M1, Chip::M1Pro, Chip::M1Max]),
    source: "ANEForge",
    conflict: None,
    fix: "compute rotary tables when converting",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("sin") || site.is("cos") {
        sink.operation(site.index, format!("`{}` runs on the CPU before A15 and M2", site.operation.op));
    }
}
