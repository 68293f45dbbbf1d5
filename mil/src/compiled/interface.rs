//! Whether a description says of each function what the program says.
//!
//! # Source
//! Core ML refuses a program with an input that the description does not have: coremltools issue 2275.

use std::collections::BTreeMap;

use super::CompiledError;
use crate::dtype::DataType;
use crate::package::{
    FeatureDescription, FeatureType, FunctionDescription, Image, ImageFlexibility, KeyType, Model, MultiArray,
    ShapeFlexibility,
};
use crate::program::Function;
use crate::types::{Dimension, TensorType, ValueType};

const ABSENT: &str = "not there";

/// Requires that every function of the program is as described.
pub(super) fn check(model: &Model) -> Result<(), CompiledError> {
    match differences(model).into_iter().next() {
        None => Ok(()),
        Some(difference) => Err(difference),
    }
}

/// Where the functions of the program are not as described.
pub(super) fn differences(model: &Model) -> Vec<CompiledError> {
    let mut differences = Vec::new();
    for description in &model.description.functions {
        if let Some(function) = model.program.functions.get(&description.name) {
            Comparison { description, function, differences: &mut differences }.run();
        }
    }
    differences
}

/// One function beside its description.
struct Comparison<'a> {
    description: &'a FunctionDescription,
    function: &'a Function,
    differences: &'a mut Vec<CompiledError>,
}

impl Comparison<'_> {
    fn run(mut self) {
        self.inputs();
        self.outputs();
    }

    fn differs(&mut self, feature: &str, program: impl Into<String>, description: impl Into<String>) {
        self.differences.push(CompiledError::Interface {
            function: self.description.name.clone(),
            feature: feature.to_owned(),
            program: program.into(),
            description: description.into(),
        });
    }

    fn inputs(&mut self) {
        let (description, function) = (self.description, self.function);
        let mut described: BTreeMap<&str, &FeatureDescription> = BTreeMap::new();
        for feature in description.inputs.iter().chain(&description.states) {
            if described.insert(&feature.name, feature).is_some() {
                self.differs(&feature.name, "one value", "there twice");
            }
        }
        for input in &function.inputs {
            let Some(feature) = described.remove(input.name.as_str()) else {
                self.differs(&input.name, input.ty.to_string(), ABSENT);
                continue;
            };
            let fits = match (&input.ty, &feature.ty) {
                (ValueType::Tensor(tensor), FeatureType::MultiArray(array))
                | (ValueType::State(tensor), FeatureType::State(array)) => input_fits(tensor, array),
                (ValueType::Tensor(tensor), FeatureType::Image(image)) => image_fits(tensor, image),
                _ => false,
            };
            if !fits {
                self.differs(&input.name, input.ty.to_string(), feature.to_string());
            }
        }
        for (name, feature) in described {
            self.differs(name, ABSENT, feature.to_string());
        }
    }

    /// Outputs may have no shape in the description; their element type is what counts.
    fn outputs(&mut self) {
        let (description, function) = (self.description, self.function);
        let results = function.block.operations.iter().flat_map(|operation| &operation.outputs);
        let types: BTreeMap<&str, &ValueType> =
            function.inputs.iter().chain(results).map(|value| (value.name.as_str(), &value.ty)).collect();
        let mut described: BTreeMap<&str, &FeatureDescription> =
            description.outputs.iter().map(|feature| (feature.name.as_str(), feature)).collect();
        for output in &function.block.outputs {
            let found = types.get(output.as_str());
            let ty = found.map_or_else(|| "not defined".to_owned(), ToString::to_string);
            let Some(feature) = described.remove(output.as_str()) else {
                self.differs(output, ty, ABSENT);
                continue;
            };
            if !found.is_some_and(|found| output_fits(found, &feature.ty)) {
                self.differs(output, ty, feature.to_string());
            }
        }
        for (name, feature) in described {
            self.differs(name, ABSENT, feature.to_string());
        }
    }
}

/// Whether a result of this type can be given as the feature.
fn output_fits(ty: &ValueType, feature: &FeatureType) -> bool {
    let key = |keys: &KeyType| match keys {
        KeyType::Int64 => DataType::Int64,
        KeyType::String => DataType::String,
    };
    let is = |ty: &ValueType, dtype: DataType| ty.as_tensor().is_some_and(|tensor| tensor.dtype == dtype);
    match (ty, feature) {
        (ValueType::Tensor(tensor), FeatureType::MultiArray(array)) => tensor.dtype == array.dtype,
        (ValueType::Tensor(tensor), FeatureType::Image(image)) => image.color_space.fits(tensor.dtype),
        (ValueType::Tensor(tensor), FeatureType::Int64) => {
            matches!(tensor.dtype, DataType::Int64 | DataType::Int32)
        }
        (ValueType::Tensor(tensor), FeatureType::Double) => tensor.dtype.is_float(),
        (ValueType::Tensor(tensor), FeatureType::String) => tensor.dtype == DataType::String,
        (ValueType::Dictionary(keys, _), FeatureType::Dictionary(described)) => is(keys, key(described)),
        (ValueType::List(element, _), FeatureType::Sequence { elements, .. }) => is(element, key(elements)),
        _ => false,
    }
}

/// Whether every size of an image that the description allows is a shape of the tensor.
fn image_fits(tensor: &TensorType, image: &Image) -> bool {
    let is_one = |shape: [u64; 4]| has_shape(tensor, &shape);
    let others = match &image.flexibility {
        None => tensor.fixed_shape().is_some(),
        Some(ImageFlexibility::Enumerated(sizes)) => sizes.iter().all(|size| is_one(image.shape(*size))),
        Some(ImageFlexibility::Ranges { width, height }) => [width, height].iter().all(|range| range.upper.is_some()),
    };
    let default = (image.size.width == 0 && image.flexibility.is_some()) || is_one(image.shape(image.size));
    image.color_space.fits(tensor.dtype) && default && others
}

fn has_shape(tensor: &TensorType, shape: &[u64]) -> bool {
    let axis = |(axis, length): (&Dimension, &u64)| axis.fixed().is_none_or(|fixed| fixed == *length);
    tensor.rank() == shape.len() && tensor.shape.iter().zip(shape).all(axis)
}

/// Whether every shape that the description allows is one of the tensor, and an axis of any length has a choice of them.
fn input_fits(tensor: &TensorType, array: &MultiArray) -> bool {
    let is_one = |shape: &[u64]| has_shape(tensor, shape);
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
