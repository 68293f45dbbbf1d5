//! Palettes of integers.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "int8-palette",
    severity: Severity::Warning,
    summary: "The entries of palettes are fp16",
    scope: Scope::ALL,
    source: "john-rocky: the weights leave the Neural Engine, results degrade",
    conflict: None,
    fix: "fp16 palettes",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let palette = if site.is("constexpr_lut_to_dense") { site.tensor("lut") } else { None };
    if let Some(palette) = palette.filter(|palette| palette.dtype.is_integer()) {
        sink.operation(site.index, format!("the entries of the palette are {}", palette.dtype));
    }
}
