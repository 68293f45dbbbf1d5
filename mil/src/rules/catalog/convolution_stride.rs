//! Strides of convolutions that the Neural Engine does not take.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "convolution-stride",
    severity: Severity::Note,
    summary: "Strides of convolutions are products of 2 and 3",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md; ANEForge",
    conflict: Some("hollance/neural-engine lists strides above 2 for older systems"),
    fix: "use a stride of products of 2 and 3, or move the axis into the channels with `pixel_unshuffle` before",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("conv") {
        return;
    }
    let strides = site.constant("strides").and_then(crate::Value::as_ints).unwrap_or_default();
    if let Some(stride) = strides.iter().find(|stride| **stride > 0 && !is_product(**stride)) {
        sink.operation(site.index, format!("the stride is {stride}"));
    }
}

/// Whether a number has no factors but 2 and 3.
fn is_product(mut number: i64) -> bool {
    for factor in [2, 3] {
        while number % factor == 0 {
            number /= factor;
        }
    }
    number == 1
}
