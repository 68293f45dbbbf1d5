//! Results that are returned twice.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "duplicate-output",
    severity: Severity::Error,
    summary: "Every result of a function is returned once",
    scope: Scope::ALL,
    source: "Anemll-forge; loaders of Core ML",
    conflict: None,
    fix: "return the value once",
    check: Check::Verifier(Topic::DuplicateResult),
};
