//! Applies the rules to a program.

use super::RULES;
use super::rule::{Check, Conditions};
use super::sink::{Finding, Sink};
use super::view::{FunctionView, ProgramView, Site, Subject};
use crate::verify::{self, Place};

/// Everything that rules say against a program, function by function, in program order.
///
/// Rules that do not hold under `conditions` are left out. It takes any program, valid or not, and does not panic.
pub fn lint(subject: Subject<'_>, conditions: &Conditions) -> Vec<Finding> {
    let views: Vec<FunctionView<'_>> = subject
        .program
        .functions
        .iter()
        .map(|(name, function)| FunctionView::new(name, function, subject, conditions))
        .collect();
    let program = ProgramView { subject, conditions, functions: &views };
    let verified = verify::report(subject.program);
    let verified: Vec<&verify::Finding> = verified.errors.iter().chain(&verified.warnings).collect();
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.scope.covers(conditions)) {
        match rule.check {
            Check::Program(check) => {
                let mut sink = Sink::new(rule, None);
                check(&program, &mut sink);
                found.extend(sink.finish());
            }
            Check::Function(check) => {
                for view in &views {
                    let mut sink = Sink::new(rule, Some(view));
                    check(view, &mut sink);
                    found.extend(sink.finish());
                }
            }
            Check::Operation(check) => {
                for view in &views {
                    let mut sink = Sink::new(rule, Some(view));
                    for (index, operation) in view.operations().iter().enumerate() {
                        check(&Site { view, index, operation }, &mut sink);
                    }
                    found.extend(sink.finish());
                }
            }
            Check::Verifier(topic) => {
                for finding in verified.iter().filter(|finding| finding.topic == topic) {
                    let name = finding.location.function.as_deref().unwrap_or_default();
                    // Views are in the order of the names.
                    let view =
                        views.binary_search_by(|view| view.name.cmp(name)).ok().and_then(|index| views.get(index));
                    let mut sink = Sink::new(rule, view);
                    sink.verified(finding);
                    found.extend(sink.finish());
                }
            }
        }
    }
    found.sort_by(|a, b| key(a).cmp(&key(b)));
    found
}

fn key(finding: &Finding) -> (Option<&str>, Place, &'static str) {
    (finding.location.function.as_deref(), finding.location.place, finding.rule.id)
}
