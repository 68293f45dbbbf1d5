//! Programs of too many operations.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::ProgramView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "op-count",
    severity: Severity::Warning,
    summary: "A program has at most 18000 operations",
    scope: Scope::ALL,
    source: "slimwangyue/Anemll ane_limit_matrix.md: 18101 load on A16, 21656 fail (-14) without falling \
        back",
    conflict: Some("M1 Ultra falls back to the CPU instead; whether constants count is not told, here they do"),
    fix: "more chunks: `--chunks`",
    check: Check::Program(check),
};

/// The most operations.
const MOST: usize = 18_000;

fn check(view: &ProgramView<'_>, sink: &mut Sink<'_>) {
    let count: usize = view.functions.iter().map(|function| function.operations().len()).sum();
    if count > MOST {
        sink.whole(format!("the program has {count} operations, expected at most {MOST}"));
    }
}
