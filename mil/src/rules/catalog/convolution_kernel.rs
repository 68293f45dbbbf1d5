//! Kernels that are too wide.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "convolution-kernel",
    severity: Severity::Warning,
    summary: "Kernels are at most 15 wide: wider ones move the whole model to the CPU",
    scope: Scope::ALL,
    source: "ANEForge",
    conflict: Some("13 is the limit on A13; hollance/neural-engine lists less for older systems"),
    fix: "split the kernel",
    check: Check::Operation(check),
};

/// The widest kernel.
const WIDEST: u64 = 15;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("conv") {
        return;
    }
    let shape = site.tensor("weight").and_then(crate::TensorType::fixed_shape).unwrap_or_default();
    if let Some(width) = shape.get(2..).and_then(<[u64]>::last).filter(|width| **width > WIDEST) {
        sink.operation(site.index, format!("the kernel is {width} wide, expected at most {WIDEST}"));
    }
}
