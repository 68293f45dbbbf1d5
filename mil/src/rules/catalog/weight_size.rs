//! Weights that are too large.

use crate::rules::limits::WEIGHT_BYTES as MOST;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "weight-size",
    severity: Severity::Warning,
    summary: "One weight has at most 128 MiB",
    scope: Scope::ALL,
    source: "kasper0406/gemma-coreml-chat",
    conflict: Some("one report, not repeated"),
    fix: "split the weight by rows",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let Some(weight) = weight::of_convolution(site) else { return };
    let elements = weight.out_channels.saturating_mul(weight.in_channels).saturating_mul(weight.kernel);
    let bytes = elements.saturating_mul(weight.stored.bits).div_ceil(8);
    if bytes > MOST {
        sink.operation(site.index, format!("the weight has {} MiB, expected at most {}", bytes >> 20, MOST >> 20));
    }
}
