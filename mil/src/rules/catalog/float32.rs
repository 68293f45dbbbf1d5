//! Computations in more than fp16.

use crate::dtype::DataType;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;
use crate::types::TensorType;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "float32",
    severity: Severity::Warning,
    summary: "Everything computes in fp16; one fp32 value breaks residency",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md; coreai-model-zoo issue 36; anemll-profile",
    conflict: None,
    fix: "cast weights and parameters to fp16 when converting",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let wide = |ty: &&TensorType| matches!(ty.dtype, DataType::Float32 | DataType::Float64 | DataType::BFloat16);
    for (index, input) in view.function.inputs.iter().enumerate() {
        if let Some(ty) = input.ty.as_tensor().filter(wide) {
            sink.input(index, format!("the parameter is {}, expected fp16", ty.dtype));
        }
    }
    let found = view.computing().filter(|(_, operation)| {
        operation.outputs.iter().filter_map(|output| output.ty.as_tensor()).any(|ty| wide(&ty))
    });
    sink.first_of(found.map(|(index, _)| index), "the result is wider than fp16");
}
