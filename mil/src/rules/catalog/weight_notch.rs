//! Weights on the notch.

use crate::rules::notch;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight::{self, Encoding};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "weight-notch",
    severity: Severity::Warning,
    summary: "The share of a weight that one core reads is not within 16 KiB of a multiple of 1 MiB",
    scope: Scope::ALL,
    source: "E. Yoon, eiln.github.io/posts/ane-dma.html (M3, M4); stablehlo-coreml pull request 110; \
        kasper0406/gemma-coreml-chat (M4 Pro, int8)",
    conflict: Some("ANEMLL reports M1 and M5 Max unaffected; other chips are not measured and taken to be affected"),
    fix: "split the weight in two along output or input channels",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let Some(weight) = weight::of_convolution(site) else { return };
    if !matches!(weight.stored.encoding, Encoding::Plain | Encoding::Linear) {
        return;
    }
    if let Some(hit) = notch::of_weight(&weight, site.view.conditions.chip) {
        sink.operation(site.index, format!("each core reads {hit} of the weight, at a third of the speed"));
    }
}
