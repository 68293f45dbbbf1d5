//! Functions with different states.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-set",
    severity: Severity::Error,
    summary: "Every function of a model declares every state, with one shape",
    scope: Scope::ALL,
    source: "Anemll-forge: the engine resets, or the system panics",
    conflict: None,
    fix: "declare the state in every function and use it there",
    check: Check::Verifier(Topic::StateSet),
};
