//! Shifted states.

use crate::ops::special;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{self, Site};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-shift",
    severity: Severity::Error,
    summary: "States are written in place, not shifted by joining old and new",
    scope: Scope::ALL,
    source: "john-rocky, CoreML-LLM: the program does not load (-14)",
    conflict: None,
    fix: "`slice_update` at the position, or `old * (1 - mask) + new * mask`",
    check: Check::Operation(check),
};

/// Steps from the write back to the join; real ones take one slice.
const STEPS: usize = 4;

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    if !site.is(special::WRITE_STATE) {
        return;
    }
    let mut name = site.name("data");
    for _ in 0..STEPS {
        let Some((_, operation)) = name.and_then(|name| site.view.producer(name)) else { return };
        match operation.op.as_str() {
            "concat" => {
                sink.operation(
                    site.index,
                    "the state is shifted: old and new values are joined and written as a whole",
                );
                return;
            }
            "slice_by_index" | "slice_by_size" | "identity" | "cast" | "reshape" | "transpose" => {
                name = operation.inputs.get("x").and_then(view::name);
            }
            _ => return,
        }
    }
}
