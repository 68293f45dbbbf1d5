//! Palettes per group of output channels.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{FunctionView, Site};
use crate::rules::weight;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "palette-groups",
    severity: Severity::Note,
    summary: "One palette per weight reads fastest",
    scope: Scope::ALL,
    source: "Anemll-forge, M6: groups cost 19 to 21 %, groups of 8 channels 47 %; cadamcat, M5 Pro: 0.10 to \
        0.45 of the speed of fp16",
    conflict: Some(
        "Apple ships groups of 32 and 8, ANEMLL groups of 8 and 4; one report has groups of 8 off the \
        Neural Engine, others measure them there at twice the speed of fp16",
    ),
    fix: "nothing: palettes of whole weights ruin language models; calibrated groups of 32 read faster than groups of 8",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let found = view.operations().iter().enumerate().filter(|(index, operation)| {
        let site = Site { view, index: *index, operation };
        let groups = if site.is("constexpr_lut_to_dense") { weight::palette_groups(&site) } else { None };
        groups.and_then(|groups| groups.first().copied()).is_some_and(|groups| groups > 1)
    });
    sink.first_of(found.map(|(index, _)| index), "the weight has a palette per group of output channels");
}
