//! Computations with integers.

use crate::dtype::DataType;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "integer-work",
    severity: Severity::Note,
    summary: "Little is computed with integers and booleans: it runs on the CPU",
    scope: Scope::ALL,
    source: "anemll-profile README: int32 is an unsupported element type; rf-detr issue 1495 (integer casts \
        on CPU)",
    conflict: Some(
        "a few of them at the start of a function, as in ANEMLL models, keep the rest on the Neural \
        Engine",
    ),
    fix: "hand over what is computed, such as rotary tables and masks, as fp16 parameters",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let on_cpu = |dtype: DataType| dtype == DataType::Bool || dtype.is_integer() && dtype.bits() > 8;
    let found = view.computing().filter(|(_, operation)| {
        operation.outputs.iter().filter_map(|output| output.ty.as_tensor()).any(|ty| on_cpu(ty.dtype))
    });
    sink.first_of(found.map(|(index, _)| index), "integers or booleans are computed");
}
