//! Ops that are not known here.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "unknown-op",
    severity: Severity::Note,
    summary: "An op that anec does not know is not judged",
    scope: Scope::ALL,
    source: "the ops that anec knows",
    conflict: None,
    fix: "nothing, if Core ML knows the op; check its place in a compute plan on the device",
    check: Check::Verifier(Topic::UnknownOp),
};
