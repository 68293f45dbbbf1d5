//! Constants that vanish in fp16.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "subnormal-constant",
    severity: Severity::Note,
    summary: "Constants are 0 or at least 6.1e-5: smaller ones are flushed to zero",
    scope: Scope::ALL,
    source: "Anemll-forge; executorch d1db6b75 (an epsilon of 1e-6 vanishes, rows of zeros give NaN)",
    conflict: Some("ANEMLL ships layer norms with an epsilon of 1e-6 that give right results"),
    fix: "nothing, where inputs are never all zero; else a larger epsilon, or inputs scaled up",
    check: Check::Function(check),
};

/// The smallest normal fp16 number.
const SMALLEST: f64 = 6.103_515_625e-5;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let found = view.computing().filter(|(_, operation)| {
        let values = operation.referenced_names().filter_map(|name| view.constant(name));
        let mut scalars = values.filter(|value| value.tensor_type().is_some_and(|ty| ty.element_count() == Some(1)));
        scalars.any(|value| {
            value.as_floats().is_some_and(|floats| floats.iter().any(|float| *float != 0.0 && float.abs() < SMALLEST))
        })
    });
    let message = format!("a constant is below {SMALLEST:.1e} and may be taken for 0");
    sink.first_of(found.map(|(index, _)| index), &message);
}
