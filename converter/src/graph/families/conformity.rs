//! Functions and their contract: inputs are declared by it, and what was built is held against it.

use std::collections::BTreeMap;

use anec_mil::{DataType, Dimension, Function, FunctionBuilder, TensorType, ValueType, Var};
use anec_schemas::contract::{Axis, Contract, FunctionContract, Instance, ResolvedTensor, Role};

use super::GraphError;

/// The inputs and states of a function, by name.
pub(super) struct Inputs(BTreeMap<String, Var>);

impl Inputs {
    /// Declares what the contract says.
    pub(super) fn declare(
        ops: &mut FunctionBuilder,
        function: &FunctionContract,
        instance: &Instance,
    ) -> Result<Self, GraphError> {
        let mut vars = BTreeMap::new();
        for input in function.inputs_in(instance)? {
            let var = ops.input(&input.name, tensor_type(&input));
            vars.insert(input.name, var);
        }
        for state in function.states_in(instance)? {
            let var = ops.input(&state.name, ValueType::State(tensor_type(&state)));
            vars.insert(state.name, var);
        }
        Ok(Self(vars))
    }

    /// The input or state of this name.
    pub(super) fn get(&self, name: &str) -> &Var {
        self.0.get(name).expect("the graph asks for inputs that its contract names")
    }
}

/// The type in a program: an axis that may have several lengths is unknown there.
fn tensor_type(tensor: &ResolvedTensor) -> TensorType {
    let dimension = |axis: &Axis| match axis {
        Axis::One(length) => Dimension::Fixed(*length),
        Axis::OneOf(_) | Axis::Any => Dimension::Unknown,
    };
    TensorType { dtype: tensor.dtype.into(), shape: tensor.axes.iter().map(dimension).collect() }
}

/// Holds a function against what its contract says.
pub(super) fn check(
    contract: &Contract,
    role: Role,
    described: &FunctionContract,
    instance: &Instance,
    function: &Function,
) -> Result<(), GraphError> {
    let text = |name: &str, dtype: DataType, shape: &[Dimension]| {
        let shape: Vec<String> = shape.iter().map(Dimension::to_string).collect();
        format!("{name} {dtype} [{}]", shape.join(", "))
    };
    let expected = |tensors: Vec<ResolvedTensor>| {
        let texts = tensors.iter().map(|tensor| {
            let ty = tensor_type(tensor);
            text(&tensor.name, ty.dtype, &ty.shape)
        });
        texts.collect::<Vec<_>>().join("; ")
    };
    let found = |name: &str, ty: Option<&ValueType>| match ty {
        Some(ValueType::Tensor(ty) | ValueType::State(ty)) => text(name, ty.dtype, &ty.shape),
        Some(other) => format!("{name} {other}"),
        None => format!("{name}, which nothing makes"),
    };
    let declared = |is_state: bool| {
        let inputs = function.inputs.iter().filter(|input| matches!(input.ty, ValueType::State(_)) == is_state);
        inputs.map(|input| found(&input.name, Some(&input.ty))).collect::<Vec<_>>().join("; ")
    };
    let made: BTreeMap<&str, &ValueType> = function
        .block
        .operations
        .iter()
        .flat_map(|operation| &operation.outputs)
        .map(|output| (output.name.as_str(), &output.ty))
        .collect();
    let outputs = function.block.outputs.iter().map(|name| found(name, made.get(name.as_str()).copied()));
    let outputs = outputs.collect::<Vec<_>>().join("; ");
    for (kind, expected, found) in [
        ("inputs", expected(described.inputs_in(instance)?), declared(false)),
        ("states", expected(described.states_in(instance)?), declared(true)),
        ("outputs", expected(described.outputs_in(instance)?), outputs),
    ] {
        if expected != found {
            let (contract, function) = (contract.name, described.name);
            return Err(GraphError::Breach { contract, role, function, kind, expected, found });
        }
    }
    Ok(())
}
