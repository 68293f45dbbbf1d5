//! Results that are one value under two names.

use std::collections::BTreeSet;

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{self, FunctionView};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "identity-output",
    severity: Severity::Warning,
    summary: "Two results are not copies of one value",
    scope: Scope::ALL,
    source: "Anemll-forge: the second identity of one tensor comes out as zeros or fails",
    conflict: None,
    fix: "return the value once, and let the client read it twice",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let mut seen = BTreeSet::new();
    let outputs: BTreeSet<&str> = view.function.block.outputs.iter().map(String::as_str).collect();
    for (index, output) in view.function.block.outputs.iter().enumerate() {
        let Some((_, producer)) = view.producer(output).filter(|(_, operation)| operation.op == "identity") else {
            continue;
        };
        let Some(source) = producer.inputs.get("x").and_then(view::name) else { continue };
        if outputs.contains(source) || !seen.insert(source) {
            sink.output(index, format!("the result is a copy of `{source}`, which is returned too"));
        }
    }
}
