//! What the interface has to know of a program: its files, and what it is bound to.

use std::collections::BTreeSet;
use std::path::Path;

use anec_mil::stored::StoredModel;
use anec_mil::{Function, NamedValueType, Operation, Program, TensorType, ValueType};

use super::error::PrivateAneError;
use super::interface::{ProgramFiles, SurfaceSizes, WeightFile};
use crate::backend::Signature;
use crate::backend::coreml::{Layout, NumberFormat};
use crate::fs_package::{FsPackage, OpenError, within};
use crate::part::PartError;

/// Of which the last axis of a tensor must be a multiple, in columns of fp16.
///
/// # Source
/// Orion: one column compiles and fails, 16 run. Apple's rules want the last axis in whole runs of 64 bytes, which are 32
/// columns; a call of 16 is for those who know their system.
const COLUMNS: u64 = 16;

/// Bytes of the smallest surface.
///
/// # Source
/// Orion; others have smaller ones. More than a tensor takes is never reported as wrong.
const SMALLEST_SURFACE: usize = 48 << 10;

/// A tensor that a program is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// Its name.
    pub(super) name: String,
    /// How it lies in a surface.
    pub(super) layout: Layout,
    /// Bytes that it takes.
    pub(super) bytes: usize,
}

/// What a program is bound to, each in the alphabetical order of names in which tensors have their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bindings {
    pub(super) inputs: Vec<Bound>,
    pub(super) outputs: Vec<Bound>,
}

/// What a function takes and gives, in its own order.
pub(super) fn signature(function: &Function) -> Signature {
    let (states, inputs) = function.inputs.iter().cloned().partition(|input| matches!(input.ty, ValueType::State(_)));
    let made: Vec<&NamedValueType> =
        function.block.operations.iter().flat_map(|operation| &operation.outputs).chain(&function.inputs).collect();
    let of = |name: &String| made.iter().rev().find(|value| value.name == *name).map(|value| (*value).clone());
    Signature { inputs, outputs: function.block.outputs.iter().filter_map(of).collect(), states }
}

/// Whether a function looks something up, by numbers that the Neural Engine does not take.
pub(super) fn looks_up(signature: &Signature) -> bool {
    signature.inputs.iter().any(|input| input.ty.as_tensor().is_some_and(|ty| !ty.dtype.is_float()))
}

impl Bindings {
    /// Those of a function.
    pub(super) fn of(signature: &Signature) -> Result<Self, PrivateAneError> {
        let sorted = |values: &[NamedValueType]| -> Result<Vec<Bound>, PrivateAneError> {
            let mut bound = values.iter().map(Bound::of).collect::<Result<Vec<_>, _>>()?;
            bound.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(bound)
        };
        Ok(Self { inputs: sorted(&signature.inputs)?, outputs: sorted(&signature.outputs)? })
    }

    /// The surfaces: all of a direction have one size, which is reported to be wanted where there are several.
    pub(super) fn sizes(&self) -> SurfaceSizes {
        let sizes = |bound: &[Bound]| {
            let largest = bound.iter().map(|bound| bound.bytes).max().unwrap_or(0).max(SMALLEST_SURFACE);
            vec![largest; bound.len()]
        };
        SurfaceSizes { inputs: sizes(&self.inputs), outputs: sizes(&self.outputs) }
    }
}

impl Bound {
    fn of(value: &NamedValueType) -> Result<Self, PrivateAneError> {
        let refused =
            || PrivateAneError::Columns { tensor: value.name.clone(), found: value.ty.to_string(), columns: COLUMNS };
        let ty: &TensorType = value.ty.as_tensor().ok_or_else(refused)?;
        let format = NumberFormat::of(ty.dtype).filter(|format| *format == NumberFormat::Float16);
        let shape = ty.fixed_shape().filter(|shape| shape.last().is_some_and(|last| last.is_multiple_of(COLUMNS)));
        let (format, shape) = format.zip(shape).ok_or_else(refused)?;
        let shape: Vec<usize> = shape.into_iter().filter_map(|size| usize::try_from(size).ok()).collect();
        let elements = anec_mil::evaluate::check_size(&shape).map_err(|_| refused())?;
        let layout = Layout::dense(format, &shape);
        Ok(Self { name: value.name.clone(), layout, bytes: elements * format.size() })
    }
}

/// The files of the program in a directory, whose text was read as `program`.
pub(super) fn files(
    directory: &Path,
    stored: &StoredModel<FsPackage>,
    program: &Program,
) -> Result<ProgramFiles, PrivateAneError> {
    let unusable = |source| PartError::Model(OpenError::model(directory, source));
    let StoredModel::Text(loose) = stored else { return Err(PrivateAneError::NoText) };
    let text = loose.text().map_err(|source| unusable(source.into()))?.into_bytes();
    let unreadable = |source| PartError::Io { path: directory.to_owned(), source };
    let root = fs_err::canonicalize(directory).map_err(unreadable)?;
    let operations = program.functions.values().flat_map(|function| &function.block.operations);
    let values = operations.flat_map(Operation::values);
    let names: BTreeSet<&str> = values.filter_map(|(_, value)| Some(value.as_blob()?.file_name.as_str())).collect();
    let weights = names.into_iter().map(|name| {
        let below = stored.weight_path(name).map_err(unusable)?;
        let path = within(&root, &below).map_err(unreadable)?;
        Ok(WeightFile { name: name.to_owned(), path, below })
    });
    let weights = weights.collect::<Result<Vec<_>, PartError>>()?;
    Ok(ProgramFiles { text, weights })
}

#[cfg(test)]
mod tests {
    use anec_mil::DataType;

    use super::*;

    fn value(name: &str, shape: &[u64]) -> NamedValueType {
        NamedValueType::new(name, TensorType::fixed(DataType::Float16, shape))
    }

    #[test]
    fn tensors_are_bound_in_the_order_of_their_names() {
        let signature = Signature {
            inputs: vec![value("x", &[1, 64, 1, 32]), value("a", &[1, 8, 1, 32])],
            outputs: vec![value("q", &[1, 1024, 1, 32]), value("k", &[1, 16, 1, 32]), value("v", &[1, 16, 1, 32])],
            states: Vec::new(),
        };
        let bindings = Bindings::of(&signature).expect("columns");
        let names = |bound: &[Bound]| bound.iter().map(|bound| bound.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&bindings.inputs), ["a", "x"]);
        assert_eq!(names(&bindings.outputs), ["k", "q", "v"]);
        let sizes = bindings.sizes();
        assert_eq!(sizes.inputs, [48 << 10; 2], "not below the least");
        assert_eq!(sizes.outputs, [1024 * 32 * 2; 3], "all as large as the largest");
    }

    #[test]
    fn what_does_not_lie_in_columns_is_refused() {
        for shape in [&[1, 64, 1, 1][..], &[64, 64, 1, 1], &[1, 8, 1, 24], &[]] {
            let signature = Signature { inputs: vec![value("w", shape)], ..Signature::default() };
            let error = Bindings::of(&signature).expect_err("refused").to_string();
            assert!(error.contains("`w`") && error.contains("multiple of 16"), "{error}");
        }
        let single = NamedValueType::new("y", TensorType::fixed(DataType::Float32, &[1, 8, 1, 32]));
        assert!(Bindings::of(&Signature { outputs: vec![single], ..Signature::default() }).is_err());
    }
}
