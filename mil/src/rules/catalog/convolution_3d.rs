//! Convolutions over three axes.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "convolution-3d",
    severity: Severity::Warning,
    summary: "Convolutions and pools go over one or two axes: those over three do not run on the Neural Engine",
    scope: Scope::ALL,
    source: "Anemll issue 40",
    conflict: None,
    fix: "convolve two axes at a time: a kernel over frames is a sum of convolutions of single frames, or a channel axis",
    check: Check::Function(check),
};

/// Parameters that have a length for each axis of the window, and how many of their axes or elements are no such lengths.
const WINDOWS: [(&str, &str, usize); 5] = [
    ("conv", "weight", 2),
    ("conv_transpose", "weight", 2),
    ("avg_pool", "kernel_sizes", 0),
    ("l2_pool", "kernel_sizes", 0),
    ("max_pool", "kernel_sizes", 0),
];

/// Axes of the window that are too many.
const THREE: usize = 3;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let found = view.computing().filter(|(_, operation)| {
        WINDOWS.iter().filter(|row| row.0 == operation.op).any(|(_, parameter, others)| {
            let axes = match crate::rules::view::tensor(view, operation, parameter) {
                Some(weight) if *others > 0 => weight.rank().saturating_sub(*others),
                Some(sizes) => sizes.element_count().and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
                None => 0,
            };
            axes >= THREE
        })
    });
    sink.first_of(found.map(|(index, _)| index), "the window goes over three axes");
}
