//! Palettes per group of input channels.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "input-channel-palette",
    severity: Severity::Warning,
    summary: "Palettes are per tensor or per group of output channels",
    scope: Scope::ALL,
    source: "ANEForge (palettes per row and block are rejected, -14); coreai-torch issue 93; john-rocky",
    conflict: None,
    fix: "group along the first axis",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("constexpr_lut_to_dense") || weight::is_table(site) {
        return;
    }
    let groups = weight::palette_groups(site).unwrap_or_default();
    if groups.iter().skip(1).any(|groups| *groups > 1) {
        sink.operation(
            site.index,
            format!("the weight has palettes of groups {groups:?}, expected 1 behind the first axis"),
        );
    }
}
