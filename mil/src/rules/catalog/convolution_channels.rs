//! Convolutions of too many channels.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "convolution-channels",
    severity: Severity::Warning,
    summary: "A convolution has at most 16384 output and input channels before A16 and M4, 65536 since; LM \
        heads are split",
    scope: Scope::ALL,
    source: "smpanaro/more-ane-transformers (heads split in 4, tables at 14000 rows); ANEForge",
    conflict: Some(
        "the E5 compiler names 65536 for channels on all chips; splits of 16384 are what published \
        models ship",
    ),
    fix: "split the weight by rows: `--lm-head-splits` for the LM head",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let Some(weight) = weight::of_convolution(site) else { return };
    let limit = site.view.conditions.chip.facts().max_head_rows;
    for (channels, side) in [(weight.out_channels, "output"), (weight.in_channels, "input")] {
        if channels > limit {
            sink.operation(
                site.index,
                format!("the convolution has {channels} {side} channels, expected at most {limit}"),
            );
        }
    }
}
