//! Results that are written to a state.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-result",
    severity: Severity::Error,
    summary: "No result of a function is what is written to or read from a state",
    scope: Scope::ALL,
    source: "coremltools pull request 2713: segmentation fault on load; john-rocky: MIL->EIR bad_cast",
    conflict: None,
    fix: "return another value that is computed from it",
    check: Check::Verifier(Topic::StateResult),
};
