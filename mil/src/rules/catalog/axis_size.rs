//! Axes that are too long.

use std::collections::BTreeMap;

use crate::rules::chip::Chip;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;
use crate::types::TensorType;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "axis-size",
    severity: Severity::Warning,
    summary: "Axes are not longer than the engine takes: before A16 and M4 16384, but 65536 for channels and \
        batch; since then 65536",
    scope: Scope::ALL,
    source: "error text of the E5 compiler (FluidInference/mobius mel_encoder_ane_behavior.md); ANEForge; \
        smpanaro",
    conflict: Some("M3 is counted to the older chips by ANEForge though A16, of the same year, is not"),
    fix: "split the axis, or fold a part of it into another",
    check: Check::Function(check),
};

/// The longest axis of channels and of the batch, and since A16 and M4 of any.
const LONG: u64 = 65_536;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    // One finding for each length: the operations that pass a tensor on would all repeat it.
    let mut found: BTreeMap<(u64, u64), Vec<usize>> = BTreeMap::new();
    for (index, operation) in view.computing() {
        let types = operation.outputs.iter().filter_map(|output| output.ty.as_tensor());
        if let Some(longest) = types.filter_map(|ty| too_long(ty, view.conditions.chip)).max() {
            found.entry(longest).or_default().push(index);
        }
    }
    for ((size, limit), indices) in found {
        let message = format!("the result is {size} long along an axis that takes {limit} at most");
        sink.first_of(indices.into_iter(), &message);
    }
}

/// The longest axis that is longer than its limit, with the limit. Axes count from the last: width, height, channels, and with five
/// axes depth before channels.
fn too_long(ty: &TensorType, chip: Chip) -> Option<(u64, u64)> {
    let short = chip.facts().max_head_rows;
    let limits = match ty.rank() {
        5 => [short, short, LONG, short, LONG],
        _ => [short, short, LONG, LONG, LONG],
    };
    let sizes = ty.shape.iter().rev().filter_map(|axis| axis.fixed());
    sizes.zip(limits).filter(|(size, limit)| size > limit).max()
}
