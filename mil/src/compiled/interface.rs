//! Whether a description says of each function what the program says.
//!
//! # Source
//! Core ML refuses a program with an input that the description does not have: coremltools issue 2275.

use std::collections::BTreeMap;

use super::CompiledError;
use crate::package::{FeatureDescription, FeatureType, FunctionDescription, Model, MultiArray, ShapeFlexibility};
use crate::program::Function;
use crate::types::{Dimension, TensorType, ValueType};

const ABSENT: &str = "not there";

/// Compares every function of the program with its description.
pub(super) fn check(model: &Model) -> Result<(), CompiledError> {
    for description in &model.description.functions {
        if let Some(function) = model.program.functions.get(&description.name) {
            check_function(description, function)?;
        }
    }
    Ok(())
}

fn check_function(description: &FunctionDescription, function: &Function) -> Result<(), CompiledError> {
    let differs = |feature: &str, program: String, description_says: String| CompiledError::Interface {
        function: description.name.clone(),
        feature: feature.to_owned(),
        program,
        description: description_says,
    };
    let mut described: BTreeMap<&str, &FeatureDescription> = BTreeMap::new();
    for feature in description.inputs.iter().chain(&description.states) {
        if described.insert(&feature.name, feature).is_some() {
            return Err(differs(&feature.name, "one value".to_owned(), "there twice".to_owned()));
        }
    }
    for input in &function.inputs {
        let Some(feature) = described.remove(input.name.as_str()) else {
            return Err(differs(&input.name, input.ty.to_string(), ABSENT.to_owned()));
        };
        let fits = match (&input.ty, &feature.ty) {
            (ValueType::Tensor(tensor), FeatureType::MultiArray(array))
            | (ValueType::State(tensor), FeatureType::State(array)) => input_fits(tensor, array),
            _ => false,
        };
        if !fits {
            return Err(differs(&input.name, input.ty.to_string(), feature.to_string()));
        }
    }
    if let Some((name, feature)) = described.first_key_value() {
        return Err(differs(name, ABSENT.to_owned(), feature.to_string()));
    }
    check_outputs(description, function, differs)
}

/// Outputs may have no shape in the description; their element type and order are what counts.
fn check_outputs(
    description: &FunctionDescription,
    function: &Function,
    differs: impl Fn(&str, String, String) -> CompiledError,
) -> Result<(), CompiledError> {
    let results = function.block.operations.iter().flat_map(|operation| &operation.outputs);
    let types: BTreeMap<&str, &ValueType> =
        function.inputs.iter().chain(results).map(|value| (value.name.as_str(), &value.ty)).collect();
    let mut described: BTreeMap<&str, &FeatureDescription> =
        description.outputs.iter().map(|feature| (feature.name.as_str(), feature)).collect();
    for output in &function.block.outputs {
        let ty = types.get(output.as_str()).map_or_else(|| "not defined".to_owned(), ToString::to_string);
        let Some(feature) = described.remove(output.as_str()) else {
            return Err(differs(output, ty, ABSENT.to_owned()));
        };
        let tensor = types.get(output.as_str()).and_then(|ty| ty.as_tensor());
        if tensor.is_none_or(|tensor| tensor.dtype != feature.array().dtype) {
            return Err(differs(output, ty, feature.to_string()));
        }
    }
    match described.first_key_value() {
        Some((name, feature)) => Err(differs(name, ABSENT.to_owned(), feature.to_string())),
        None => Ok(()),
    }
}

/// Whether every shape that the description allows is one of the tensor, and an axis of any length has a choice of them.
fn input_fits(tensor: &TensorType, array: &MultiArray) -> bool {
    let is_one = |shape: &[u64]| {
        let axis = |(axis, length): (&Dimension, &u64)| axis.fixed().is_none_or(|fixed| fixed == *length);
        shape.len() == tensor.rank() && tensor.shape.iter().zip(shape).all(axis)
    };
    let default = (array.shape.is_empty() && array.flexibility.is_some()) || is_one(&array.shape);
    let others = match &array.flexibility {
        None => tensor.fixed_shape().is_some(),
        Some(ShapeFlexibility::Enumerated(shapes)) => !shapes.is_empty() && shapes.iter().all(|shape| is_one(shape)),
        Some(ShapeFlexibility::Ranges(ranges)) => {
            let lower: Vec<u64> = ranges.iter().map(|range| range.lower).collect();
            let upper: Vec<u64> = ranges.iter().map(|range| range.upper.unwrap_or(u64::MAX)).collect();
            is_one(&lower) && is_one(&upper)
        }
    };
    tensor.dtype == array.dtype && default && others
}
