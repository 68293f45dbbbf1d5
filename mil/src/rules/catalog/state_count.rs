//! Too many states.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-count",
    severity: Severity::Error,
    summary: "A function has at most 2 states",
    scope: Scope::ALL,
    source: "CoreML-LLM docs/MLSTATE_PATTERN.md: with three, predictions fail (0x1d) and the CPU computes \
        something else; SqueezeBits",
    conflict: Some("a toy with several states ran on A16 (slimwangyue)"),
    fix: "join states along an axis: one tensor for all layers, keys and values",
    check: Check::Verifier(Topic::StateCount),
};
