//! Strings, paths, dictionaries, types and errors of Foundation, as Rust has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anec_mil::{DataType, Dimension, TensorType};
use objc2::Message;
use objc2::rc::Retained;
use objc2_core_ml::{
    MLFeatureDescription, MLMultiArrayConstraint, MLMultiArrayDataType, MLMultiArrayShapeConstraintType,
};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSNumber, NSString, NSURL};

use super::super::failure::FrameworkError;

/// Deepest chain of underlying errors that is told.
const DEPTH: usize = 4;

pub(in crate::backend) fn file_url(path: &Path) -> Result<Retained<NSURL>, FrameworkError> {
    let url = if path.is_dir() { NSURL::from_directory_path(path) } else { NSURL::from_file_path(path) };
    url.ok_or_else(|| FrameworkError::own(format!("{} cannot be a file URL", path.display())))
}

pub(super) fn path_of(url: &NSURL) -> Result<PathBuf, FrameworkError> {
    url.to_file_path().ok_or_else(|| FrameworkError::own("Core ML gave a URL that is no file"))
}

/// An error with all that it says, itself and below.
pub(in crate::backend) fn error(error: &NSError) -> FrameworkError {
    let mut messages = Vec::new();
    tell(error, DEPTH, &mut messages);
    messages.dedup();
    FrameworkError {
        domain: error.domain().to_string(),
        code: i64::try_from(error.code()).unwrap_or_default(),
        message: messages.join(": "),
    }
}

fn tell(error: &NSError, depth: usize, messages: &mut Vec<String>) {
    messages.push(error.localizedDescription().to_string());
    messages.extend(error.localizedFailureReason().map(|reason| reason.to_string()));
    if depth > 0 {
        for underlying in &error.underlyingErrors() {
            tell(&underlying, depth - 1, messages);
        }
    }
}

/// A dictionary in the order of its keys.
pub(super) fn entries<V: Message>(dictionary: &NSDictionary<NSString, V>) -> BTreeMap<String, Retained<V>> {
    let (keys, values) = dictionary.to_vecs();
    keys.iter().map(ToString::to_string).zip(values).collect()
}

/// The type of a feature or state.
pub(super) fn tensor_type(name: &str, feature: &MLFeatureDescription) -> Result<TensorType, FrameworkError> {
    let unknown = || FrameworkError::own(format!("`{name}` is no multi-array of a type that is known here"));
    // SAFETY: getters of an immutable description.
    let (array, state) = unsafe { (feature.multiArrayConstraint(), feature.stateConstraint()) };
    let (dtype, shape) = match (array, state) {
        // SAFETY: as above.
        (Some(array), _) => (unsafe { array.dataType() }, allowed_shapes(&array)?),
        (None, Some(state)) => {
            // SAFETY: as above.
            let (dtype, shape) = unsafe { (state.dataType(), state.bufferShape()) };
            (dtype, fixed(&shape)?)
        }
        (None, None) => return Err(unknown()),
    };
    Ok(TensorType { dtype: data_type(dtype).ok_or_else(unknown)?, shape })
}

/// The shape of a multi-array; an axis of which several lengths are allowed is unknown.
fn allowed_shapes(constraint: &MLMultiArrayConstraint) -> Result<Vec<Dimension>, FrameworkError> {
    // SAFETY: getters of an immutable description.
    let (shape, allowed) = unsafe { (constraint.shape(), constraint.shapeConstraint()) };
    let mut shape = fixed(&shape)?;
    // SAFETY: as above.
    let kind = unsafe { allowed.r#type() };
    if kind == MLMultiArrayShapeConstraintType::Enumerated {
        // SAFETY: as above.
        for other in &unsafe { allowed.enumeratedShapes() } {
            for (size, other) in shape.iter_mut().zip(fixed(&other)?) {
                if *size != other {
                    *size = Dimension::Unknown;
                }
            }
        }
    }
    if kind == MLMultiArrayShapeConstraintType::Range {
        // SAFETY: as above; the values are ranges.
        let ranges = unsafe { allowed.sizeRangeForDimension() };
        for (size, range) in shape.iter_mut().zip(&ranges) {
            // SAFETY: as above.
            if unsafe { range.rangeValue() }.length > 1 {
                *size = Dimension::Unknown;
            }
        }
    }
    Ok(shape)
}

fn fixed(shape: &NSArray<NSNumber>) -> Result<Vec<Dimension>, FrameworkError> {
    Ok(sizes(shape)?.into_iter().map(|size| Dimension::Fixed(size as u64)).collect())
}

pub(super) fn data_type(dtype: MLMultiArrayDataType) -> Option<DataType> {
    Some(match dtype {
        MLMultiArrayDataType::Float16 => DataType::Float16,
        MLMultiArrayDataType::Float32 => DataType::Float32,
        MLMultiArrayDataType::Int32 => DataType::Int32,
        MLMultiArrayDataType::Int8 => DataType::Int8,
        _ => return None,
    })
}

/// Numbers that are sizes or strides.
pub(super) fn sizes(numbers: &NSArray<NSNumber>) -> Result<Vec<usize>, FrameworkError> {
    let size = |number: Retained<NSNumber>| {
        let negative = || FrameworkError::own("a size or stride is negative");
        usize::try_from(number.as_isize()).map_err(|_| negative())
    };
    numbers.iter().map(size).collect()
}

pub(super) fn numbers(sizes: &[usize]) -> Retained<NSArray<NSNumber>> {
    let numbers: Vec<_> = sizes.iter().map(|size| NSNumber::new_usize(*size)).collect();
    NSArray::from_retained_slice(&numbers)
}
