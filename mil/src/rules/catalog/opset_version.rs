//! Operation sets that the system does not have.

use crate::opset::Opset;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::system::{OsVersion, generation_name};
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "opset-version",
    severity: Severity::Error,
    summary: "The system knows the operation set of the program",
    scope: Scope::ALL,
    source: "coremltools: the system that goes with each specification version",
    conflict: None,
    fix: "convert for the older system, or require the newer one",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let needed = match view.function.opset {
        Opset::Ios15 => 15,
        Opset::Ios16 => 16,
        Opset::Ios17 => 17,
        Opset::Ios18 => 18,
        Opset::Ios26 => 26,
    };
    if let Some(os) = view.conditions.os.filter(|os| OsVersion::generation(*os) < needed) {
        sink.whole(format!(
            "the function uses {}, which {os} lacks; it came with {}",
            view.function.opset,
            generation_name(needed)
        ));
    }
}
