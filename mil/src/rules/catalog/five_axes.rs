//! Tensors of five axes.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "five-axes",
    severity: Severity::Note,
    summary: "Tensors have at most 4 axes, as in (1, channels, 1, tokens)",
    scope: Scope::ALL,
    source: "executorch issue 15833 and pull request 16144: attention in 5 axes was slower, and inaccurate \
        on iOS 26",
    conflict: None,
    fix: "merge two axes",
    check: Check::Function(check),
};

/// The axes that are too many.
const FIVE: usize = 5;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let wide = |output: &crate::program::NamedValueType| output.ty.as_tensor().is_some_and(|ty| ty.rank() == FIVE);
    let found = view.computing().filter(|(_, operation)| operation.outputs.iter().any(wide));
    sink.first_of(found.map(|(index, _)| index), &format!("the result has {FIVE} axes"));
}
