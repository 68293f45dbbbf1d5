//! Windows of pools that are too wide.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "pool-window",
    severity: Severity::Warning,
    summary: "Windows of pools are at most 29 wide",
    scope: Scope::ALL,
    source: "ANEForge",
    conflict: Some("31 was seen on some chips; hollance/neural-engine lists 13 for older systems"),
    fix: "pool twice with smaller windows, or use `reduce_mean` or `reduce_max` over the whole axis",
    check: Check::Operation(check),
};

/// The widest window that is taken everywhere.
const WIDEST: i64 = 29;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !["avg_pool", "l2_pool", "max_pool"].iter().any(|op| site.is(op)) {
        return;
    }
    let sizes = site.constant("kernel_sizes").and_then(crate::Value::as_ints).unwrap_or_default();
    if let Some(width) = sizes.iter().max().filter(|width| **width > WIDEST) {
        sink.operation(site.index, format!("the window is {width} wide, expected at most {WIDEST}"));
    }
}
