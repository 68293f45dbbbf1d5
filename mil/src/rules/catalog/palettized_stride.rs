//! Strides of palettized convolutions.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight::{self, Encoding};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "palettized-stride",
    severity: Severity::Warning,
    summary: "Convolutions with palettized weights have strides of at most 2",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md",
    conflict: None,
    fix: "store this weight as fp16, or use two convolutions",
    check: Check::Operation(check),
};

/// The largest stride.
const LARGEST: i64 = 2;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let palettized = weight::of_convolution(site).is_some_and(|weight| weight.stored.encoding == Encoding::Palette);
    let strides = site.constant("strides").and_then(crate::Value::as_ints).unwrap_or_default();
    if let Some(stride) = strides.iter().max().filter(|stride| palettized && **stride > LARGEST) {
        sink.operation(
            site.index,
            format!("the stride is {stride} with a palettized weight, expected at most {LARGEST}"),
        );
    }
}
