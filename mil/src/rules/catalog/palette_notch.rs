//! Palettized weights that may be on the notch.

use crate::rules::notch;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;
use crate::rules::weight::{self, Encoding};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "palette-notch",
    severity: Severity::Note,
    summary: "The share of palettized indices that one core reads is not within 16 KiB of a multiple of 1 MiB",
    scope: Scope::ALL,
    source: "as `weight-notch`",
    conflict: Some(
        "nobody has measured where the notch of palettized weights is; here it is taken to be at that of \
        the indices",
    ),
    fix: "measure on the device; split the weight in two, or choose another number of bits",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let Some(weight) = weight::of_convolution(site) else { return };
    if weight.stored.encoding != Encoding::Palette {
        return;
    }
    if let Some(hit) = notch::of_weight(&weight, site.view.conditions.chip) {
        sink.operation(site.index, format!("each core reads {hit} of indices, perhaps at a third of the speed"));
    }
}
