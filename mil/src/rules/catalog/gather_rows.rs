//! Tables of more than 65535 rows.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "gather-rows",
    severity: Severity::Note,
    summary: "Tables that are gathered from have at most 65535 rows: the Neural Engine holds indices in 16 \
        bits",
    scope: Scope::ALL,
    source: "executorch pull request 7616",
    conflict: None,
    fix: "keep the table off the Neural Engine: load its package for the CPU, or look rows up in the \
        client",
    check: Check::Operation(check),
};

/// Rows that 16 bits can tell apart, less one.
const ROWS: u64 = 65_535;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is("gather") {
        return;
    }
    let axis = site.constant("axis").and_then(crate::Value::as_int).unwrap_or(0);
    let rows = site.tensor("x").and_then(|ty| ty.shape.get(usize::try_from(axis).ok()?)?.fixed());
    if let Some(rows) = rows.filter(|rows| *rows > ROWS) {
        sink.operation(site.index, format!("the table has {rows} rows, expected at most {ROWS}"));
    }
}
