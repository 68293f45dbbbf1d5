//! Attention as one op.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "fused-attention",
    severity: Severity::Warning,
    summary: "Attention is written as products and a softmax, not as `scaled_dot_product_attention`",
    scope: Scope::ALL,
    source: "executorch issue 15833 (wrong on iOS 26); coremltools issue 2650 (wrong on GPU); ultralytics \
        issue 24944 (M5); john-rocky (wrong tokens)",
    conflict: Some("ANEForge finds it right up to 2048 keys and 512 queries; stablehlo-coreml emits it"),
    fix: "two `matmul` around an `add` of the mask and a `softmax`",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.is("scaled_dot_product_attention") {
        sink.operation(site.index, "fused attention gives wrong results or leaves the Neural Engine on some systems");
    }
}
