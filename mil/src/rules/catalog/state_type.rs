//! Types of states.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-type",
    severity: Severity::Error,
    summary: "States are fp16, of fixed shape, in functions of ios18 or later",
    scope: Scope::ALL,
    source: "Core ML: MLState exists since iOS 18 and macOS 15; apple/coreai-models",
    conflict: None,
    fix: "declare the state as fp16",
    check: Check::Verifier(Topic::StateType),
};
