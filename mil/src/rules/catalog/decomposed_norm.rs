//! Norms by a mean of squares.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::Site;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "decomposed-norm",
    severity: Severity::Warning,
    summary: "Norms are `layer_norm` over [x, -x], or a fused norm over prescaled inputs, not a mean of \
        squares",
    scope: Scope::ALL,
    source: "arXiv 2608.22110: a fused norm was eligible where the same arithmetic in single ops was on the \
        CPU; squares beyond 256 overflow fp16",
    conflict: None,
    fix: "`layer_norm` over [x, -x], the half of it that is x, then the weight",
    check: Check::Operation(check),
};

fn check(site: &Site<'_>, sink: &mut Sink<'_>) {
    let squares = match site.operation.op.as_str() {
        "reduce_sum_square" => true,
        "reduce_mean" | "reduce_sum" => site.name("x").is_some_and(|name| is_square(site, name)),
        _ => false,
    };
    let fp16 = site.result().is_some_and(|ty| ty.dtype == crate::DataType::Float16);
    if squares && fp16 {
        sink.operation(
            site.index,
            format!("`{}` over squares can overflow fp16 and may leave the Neural Engine", site.operation.op),
        );
    }
}

fn is_square(site: &Site<'_>, name: &str) -> bool {
    let Some((_, operation)) = site.view.producer(name) else { return false };
    match operation.op.as_str() {
        "square" => true,
        "mul" => operation.inputs.contains_key("x") && operation.inputs.get("x") == operation.inputs.get("y"),
        _ => false,
    }
}
