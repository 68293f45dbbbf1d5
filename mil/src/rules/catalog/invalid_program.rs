//! Programs that Core ML does not load.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::verify::Topic;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "invalid-program",
    severity: Severity::Error,
    summary: "A program must be valid MIL: names, types, operands and attributes as the ops define them",
    scope: Scope::ALL,
    source: "MIL.proto and the op definitions of coremltools e0e2f42b; loaders of Core ML",
    conflict: None,
    fix: "correct the program; `anec inspect` prints it",
    check: Check::Verifier(Topic::Other),
};
