//! Programs that give every value that they compute.

use std::collections::BTreeSet;

use anec_mil::ops::special;
use anec_mil::{Function, Program, ValueType};

/// A value that a function computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ComputedValue {
    /// Position of the operation in the function.
    pub(super) index: usize,
    /// The op.
    pub(super) op: String,
    /// The name of the result.
    pub(super) name: String,
}

/// The tensors that the operations of a function compute, in order; constants and what is inside of nested blocks are left
/// out.
pub(super) fn computed(function: &Function) -> Vec<ComputedValue> {
    let operations = function.block.operations.iter().enumerate();
    operations
        .filter(|(_, operation)| !special::yields_constant(&operation.op))
        .flat_map(|(index, operation)| {
            let tensors = operation.outputs.iter().filter(|output| matches!(output.ty, ValueType::Tensor(_)));
            tensors.map(move |output| ComputedValue { index, op: operation.op.clone(), name: output.name.clone() })
        })
        .collect()
}

/// The program, whose function `name` gives all that it computes beside what it gave before.
pub(super) fn exposed(program: &Program, name: &str) -> Program {
    let mut program = program.clone();
    if let Some(function) = program.functions.get_mut(name) {
        let given: BTreeSet<String> = function.block.outputs.iter().cloned().collect();
        let computed = computed(function).into_iter().map(|value| value.name);
        let more: Vec<String> = computed.filter(|value| !given.contains(value)).collect();
        function.block.outputs.extend(more);
    }
    program
}
