//! Weights inside the program.

use crate::ops::special;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "inline-weight",
    severity: Severity::Note,
    summary: "Weights are in the weight file, not in the program",
    scope: Scope::ALL,
    source: "every published package; functions share weights through the file only",
    conflict: None,
    fix: "write constants of more than a few elements to the weight file",
    check: Check::Operation(check),
};

/// The most bytes of a constant inside the program.
const MOST: u64 = 1 << 10;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let inline =
        site.operation.attributes.values().filter(|value| site.is(special::CONST) && value.as_blob().is_none());
    let bytes = |value: &crate::Value| {
        let ty = value.tensor_type()?;
        ty.dtype.packed_bytes(ty.element_count()?)
    };
    if let Some(bytes) = inline.filter_map(bytes).find(|bytes| *bytes > MOST) {
        sink.operation(site.index, format!("the constant has {bytes} bytes inside the program"));
    }
}
