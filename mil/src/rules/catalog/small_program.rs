//! Programs that are too small.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::ProgramView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "small-program",
    severity: Severity::Note,
    summary: "Programs have at least about 14 MB of weights: smaller ones stay on the CPU",
    scope: Scope::ALL,
    source: "ane-book; stablehlo-coreml pull request 110; vx issue 436 (one or two layers)",
    conflict: None,
    fix: "fewer chunks; for small parts the CPU is as fast",
    check: Check::Program(check),
};

/// The fewest bytes.
const FEWEST: u64 = 14_000_000;

fn check(view: &ProgramView<'_>, sink: &mut Sink<'_>) {
    if let Some(bytes) = view.subject.weight_file_bytes.filter(|bytes| *bytes < FEWEST) {
        sink.whole(format!("the weight file has {bytes} bytes; programs below {FEWEST} tend to run on the CPU"));
    }
}
