//! Scales on palettized weights.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "scale-after-palette",
    severity: Severity::Error,
    summary: "Weights that come out of a palette are not scaled by another op for constants",
    scope: Scope { since: Some(26), ..Scope::ALL },
    source: "coremltools issue 2688: macOS 26 aborts on load (mps.dequantize takes no fp16)",
    conflict: Some(
        "coremltools moves the scale for targets before iOS 26 only and calls it fixed there; \
        Anemll-forge runs it on M6",
    ),
    fix: "a palette per group of channels, or a `mul` on the result of the convolution",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let float = site.tensor("data").is_some_and(|data| data.dtype.is_float());
    if site.is("constexpr_blockwise_shift_scale") && float {
        sink.operation(site.index, "the weight is scaled after it was looked up");
    }
}
