//! Parameters and results whose rows are not aligned.

use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::FunctionView;
use crate::types::TensorType;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "last-axis-alignment",
    severity: Severity::Note,
    summary: "The last axis of what goes in and out is contiguous and a multiple of 64 bytes",
    scope: Scope::ALL,
    source: "apple/coreai-models neural_engine_rules.md",
    conflict: Some(
        "ANEMLL ships logits of 9496 columns and hidden states of [1, 1, hidden_size] that run: Core ML \
        copies or pads rows; the raw path does not",
    ),
    fix: "pad the axis, or move another axis to the end",
    check: Check::Function(check),
};

/// Bytes to which rows are aligned.
const ALIGNMENT: u64 = 64;

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    for (index, input) in view.function.inputs.iter().enumerate() {
        if let Some(bytes) = input.ty.as_tensor().and_then(unaligned) {
            sink.input(index, message(bytes));
        }
    }
    for (index, output) in view.function.block.outputs.iter().enumerate() {
        if let Some(bytes) = view.tensor(output).and_then(unaligned) {
            sink.output(index, message(bytes));
        }
    }
}

fn message(bytes: u64) -> String {
    format!("the last axis has {bytes} bytes, which is no multiple of {ALIGNMENT}")
}

/// Bytes of the last axis of a floating-point tensor, if they are not aligned.
fn unaligned(ty: &TensorType) -> Option<u64> {
    let bytes = ty.dtype.is_float().then(|| ty.dtype.packed_bytes(ty.shape.last()?.fixed()?))??;
    (!bytes.is_multiple_of(ALIGNMENT)).then_some(bytes)
}
