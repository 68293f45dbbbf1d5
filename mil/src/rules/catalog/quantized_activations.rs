//! Activations in int8.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "quantized-activations",
    severity: Severity::Warning,
    summary: "Activations stay fp16",
    scope: Scope::ALL,
    source: "john-rocky: compilers of iOS 26 reject `quantize` and `dequantize`; for one token a call \
        nothing is gained",
    conflict: Some("deep convolutions gain up to 1.9 times on M4 and A17 Pro (freedomtan, maderix)"),
    fix: "quantize weights only",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let constant = site.name("input").is_some_and(|name| site.view.is_constant(name));
    if (site.is("quantize") || site.is("dequantize")) && !constant {
        sink.operation(site.index, format!("`{}` of what is computed may be rejected", site.operation.op));
    }
}
