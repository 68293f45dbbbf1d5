//! Products with constant weights.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::types::TensorType;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "linear-form",
    severity: Severity::Warning,
    summary: "Products with weights are 1x1 convolutions over (1, channels, 1, tokens)",
    scope: Scope::ALL,
    source: "apple/ml-ane-transformers; maderix/ANE: about three times faster than `matmul`",
    conflict: None,
    fix: "`conv` with a weight of [out_channels, in_channels, 1, 1]",
    check: Check::Operation(check),
};

/// Fewer elements are a table, such as a mask, whose product costs less than what it takes to make a convolution of it.
const LEAST_WEIGHTS: u64 = 1 << 16;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let constant = |parameter: &str| {
        let is_constant = site.name(parameter).is_some_and(|name| site.view.is_constant(name));
        let elements = site.tensor(parameter).and_then(TensorType::element_count);
        is_constant && elements.is_none_or(|elements| elements >= LEAST_WEIGHTS)
    };
    if site.is("linear") || site.is("matmul") && (constant("x") || constant("y")) {
        sink.operation(
            site.index,
            format!("`{}` with a constant weight is slower than a 1x1 convolution", site.operation.op),
        );
    }
}
