//! More axes than Core ML computes with.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "rank",
    severity: Severity::Error,
    summary: "Tensors have at most 5 axes",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md; ANEForge",
    conflict: None,
    fix: "merge axes; four, as in (1, channels, 1, tokens), are best",
    check: Check::Verifier(Topic::Rank),
};
