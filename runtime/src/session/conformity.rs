//! Holds a loaded function against its contract: every input, state and output, with type and shape.

use anec_mil::{Dimension, NamedValueType, TensorType, ValueType};
use anec_schemas::contract::{Contract, Instance, ResolvedTensor};

use super::SessionError;
use crate::backend::LoadedFunction;
use crate::part::ModelPart;

/// An input, state or output that is not its contract's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} `{name}` of `{function}` of `{file}` is {found}, the contract `{contract}` says {expected}")]
pub struct Breach {
    /// The contract.
    pub contract: &'static str,
    /// The model, without extension.
    pub file: String,
    /// The function.
    pub function: String,
    /// Input, state or output.
    pub kind: &'static str,
    /// The tensor.
    pub name: String,
    /// What the contract says.
    pub expected: String,
    /// What the model has.
    pub found: String,
}

/// Whether a function takes and gives what the contract says, and nothing else.
pub(super) fn check(
    contract: &Contract,
    part: &ModelPart,
    function: &'static str,
    loaded: &LoadedFunction,
    instance: &Instance,
) -> Result<(), SessionError> {
    let (described, signature) = (contract.function(part.label.role, function, instance)?, loaded.signature());
    let breach = |kind, name: &str, expected: String, found: String| {
        SessionError::from(Box::new(Breach {
            contract: contract.name,
            file: part.stem.clone(),
            function: function.to_owned(),
            kind,
            name: name.to_owned(),
            expected,
            found,
        }))
    };
    for (kind, expected, found) in [
        ("input", described.inputs_in(instance)?, &signature.inputs),
        ("state", described.states_in(instance)?, &signature.states),
        ("output", described.outputs_in(instance)?, &signature.outputs),
    ] {
        for tensor in &expected {
            let Some(value) = found.iter().find(|value| value.name == tensor.name) else {
                return Err(breach(kind, &tensor.name, tensor.to_string(), "missing".to_owned()));
            };
            if !allows(tensor, value) {
                return Err(breach(kind, &tensor.name, tensor.to_string(), text(value)));
            }
        }
        if let Some(extra) = found.iter().find(|value| expected.iter().all(|tensor| tensor.name != value.name)) {
            return Err(breach(kind, &extra.name, format!("no such {kind}"), text(extra)));
        }
    }
    Ok(())
}

/// Whether a value has the type of the contract; an axis whose length a program leaves open fits any.
fn allows(tensor: &ResolvedTensor, value: &NamedValueType) -> bool {
    let (ValueType::Tensor(ty) | ValueType::State(ty)) = &value.ty else { return false };
    let TensorType { dtype, shape } = ty;
    let fits = |(axis, dimension): (&anec_schemas::contract::Axis, &Dimension)| match dimension {
        Dimension::Fixed(length) => axis.allows(*length),
        Dimension::Unknown => true,
    };
    *dtype == tensor.dtype.into() && shape.len() == tensor.axes.len() && tensor.axes.iter().zip(shape).all(fits)
}

fn text(value: &NamedValueType) -> String {
    match &value.ty {
        ValueType::Tensor(ty) | ValueType::State(ty) => {
            let shape: Vec<String> = ty.shape.iter().map(Dimension::to_string).collect();
            format!("{} {} [{}]", value.name, ty.dtype, shape.join(", "))
        }
        other => format!("{} {other}", value.name),
    }
}
