//! Scales per block of input channels.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "blockwise-weight",
    severity: Severity::Warning,
    summary: "Linear weights have one scale per output channel or per tensor, not per block",
    scope: Scope::ALL,
    source: "coreai-models issues 55 and 205; ane-book; executorch (the Neural Engine needs channelwise); \
        coreai-torch issue 93 (wrong values on M5 Pro)",
    conflict: None,
    fix: "palettes, or one scale per output channel",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("constexpr_blockwise_shift_scale") || weight::is_table(site) {
        return;
    }
    let blocks = |parameter| site.tensor(parameter).and_then(crate::TensorType::fixed_shape).unwrap_or_default();
    let [scales, offsets] = [blocks("scale"), blocks("offset")];
    if scales.iter().skip(1).chain(offsets.iter().skip(1)).any(|blocks| *blocks > 1) {
        sink.operation(
            site.index,
            format!("the weight has scales of shape {scales:?}, expected 1 behind the first axis"),
        );
    }
}
