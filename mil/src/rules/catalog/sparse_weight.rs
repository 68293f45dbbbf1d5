//! Sparse weights.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "sparse-weight",
    severity: Severity::Warning,
    summary: "Weights are not stored sparse",
    scope: Scope::ALL,
    source: "john-rocky: sparse palettes leave the Neural Engine and take more space",
    conflict: Some("ANEForge finds plain sparse weights streamed by all chips since A13"),
    fix: "store the weight densely",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if site.operation.op.starts_with("constexpr_sparse") || site.operation.op.starts_with("constexpr_lut_to_sparse") {
        sink.operation(site.index, "the weight is stored sparse");
    }
}
