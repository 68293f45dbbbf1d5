//! What a model holds: functions, weights by encoding, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anec_mil::blob::{BlobError, BlobFile};
use anec_mil::package::{FeatureDescription, FunctionDescription};
use anec_mil::stored::StoredModel;
use anec_mil::verify::{Finding, Topic};
use anec_mil::{BlobReference, Function, Operation, Program, TensorType, Value, ValueType, verify};
use serde::Serialize;

use crate::causes::with_causes;
use crate::{FsPackage, OpenError, open_model};

/// A model in any form, described.
#[derive(Debug, Serialize)]
pub struct PackageReport {
    /// Where it is.
    pub path: PathBuf,
    /// The form that it is stored in.
    pub form: String,
    /// Core ML's specification version.
    pub specification_version: i32,
    /// The function that runs when none is named.
    pub default_function: Option<String>,
    /// Functions by name.
    pub functions: BTreeMap<String, FunctionReport>,
    /// Weights by how they are stored, shared ones counted once.
    pub encodings: BTreeMap<String, EncodingReport>,
    /// Bytes of the blobs that the program refers to.
    pub weight_bytes: u64,
    /// Names of the weight files that the program refers to.
    pub weight_files: BTreeSet<String>,
    /// What is not known here and need not be wrong: fields and ops that came later.
    pub notes: Vec<String>,
    /// What the verifier and the weight file say against it.
    pub problems: Vec<String>,
    /// The program.
    #[serde(skip)]
    pub program: Program,
}

/// A function.
#[derive(Debug, Serialize)]
pub struct FunctionReport {
    /// The operation set.
    pub opset: String,
    /// Types of tensor inputs by name, in order.
    pub inputs: Vec<(String, String)>,
    /// Types of states by name, in order.
    pub states: Vec<(String, String)>,
    /// Types of outputs by name, in order.
    pub outputs: Vec<(String, String)>,
    /// What the description says of inputs and outputs that are no arrays of one shape, by name.
    pub described: BTreeMap<String, String>,
    /// How often each op occurs.
    pub operations: BTreeMap<String, usize>,
}

/// Weights that are stored in the same way.
#[derive(Debug, Default, Serialize)]
pub struct EncodingReport {
    /// How many.
    pub weights: usize,
    /// Their elements.
    pub elements: u64,
    /// Bytes that they take, palettes and scales included.
    pub bytes: u64,
}

impl PackageReport {
    /// Opens and describes a model.
    ///
    /// # Errors
    /// There is no model, or it cannot be read. What is wrong inside a program that can be read is among the
    /// [`problems`](Self::problems).
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let stored = open_model(path)?;
        let (model, mut notes) = stored.model_with_notes().map_err(|source| OpenError::model(path, source))?;
        let program = model.program;
        let (unknown, errors): (Vec<Finding>, Vec<Finding>) =
            verify::report(&program).errors.into_iter().partition(|finding| finding.topic == Topic::UnknownOp);
        notes.extend(unknown.iter().map(ToString::to_string));
        let mut problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let blobs = Blobs::of(&program);
        problems.extend(blobs.check(&stored));
        Ok(Self {
            path: path.to_owned(),
            form: stored.form().to_string(),
            specification_version: model.specification_version,
            default_function: model.description.default_function.clone(),
            functions: program
                .functions
                .iter()
                .map(|(name, function)| (name.clone(), function_report(function, model.description.function(name))))
                .collect(),
            encodings: encodings(&program),
            weight_files: blobs.0.keys().map(|reference| reference.file_name.clone()).collect(),
            weight_bytes: blobs.0.values().map(|value| value_bytes(value)).sum(),
            notes,
            problems,
            program,
        })
    }
}

fn function_report(function: &Function, description: Option<&FunctionDescription>) -> FunctionReport {
    let typed = |name: &str, ty: &ValueType| (name.to_owned(), ty.to_string());
    let (states, inputs): (Vec<_>, Vec<_>) =
        function.inputs.iter().partition(|input| matches!(input.ty, ValueType::State(_)));
    let results = function.block.operations.iter().flat_map(|operation| &operation.outputs);
    let types: BTreeMap<&str, &ValueType> =
        function.inputs.iter().chain(results).map(|value| (value.name.as_str(), &value.ty)).collect();
    let mut operations = BTreeMap::new();
    for operation in &function.block.operations {
        *operations.entry(operation.op.clone()).or_insert(0) += 1;
    }
    FunctionReport {
        opset: function.opset.to_string(),
        inputs: inputs.iter().map(|input| typed(&input.name, &input.ty)).collect(),
        states: states.iter().map(|state| typed(&state.name, &state.ty)).collect(),
        outputs: function
            .block
            .outputs
            .iter()
            .map(|name| (name.clone(), types.get(name.as_str()).map_or_else(String::new, ToString::to_string)))
            .collect(),
        described: description.map(described).unwrap_or_default(),
        operations,
    }
}

/// Features that the types of the program say less about than the description.
fn described(description: &FunctionDescription) -> BTreeMap<String, String> {
    let features = description.inputs.iter().chain(&description.outputs);
    let says_more = |feature: &&FeatureDescription| {
        feature.optional || feature.array().is_none_or(|array| array.flexibility.is_some())
    };
    features.filter(says_more).map(|feature| (feature.name.clone(), feature.to_string())).collect()
}

fn operations(program: &Program) -> impl Iterator<Item = &Operation> {
    program.functions.values().flat_map(|function| &function.block.operations)
}

/// Bytes of a value in a weight file.
fn value_bytes(value: &Value) -> u64 {
    let bytes = |ty: &TensorType| ty.dtype.packed_bytes(ty.element_count()?);
    value.tensor_type().and_then(bytes).unwrap_or(0)
}

/// The blobs that a program refers to, each once.
struct Blobs<'a>(BTreeMap<&'a BlobReference, &'a Value>);

impl<'a> Blobs<'a> {
    fn of(program: &'a Program) -> Self {
        let values = operations(program).flat_map(Operation::values);
        Self(values.filter_map(|(_, value)| Some((value.as_blob()?, value))).collect())
    }

    /// Looks up every blob in its file: it must be there with the type and size that the program says.
    fn check(&self, stored: &StoredModel<FsPackage>) -> Vec<String> {
        let mut problems = Vec::new();
        let files: BTreeSet<&str> = self.0.keys().map(|reference| reference.file_name.as_str()).collect();
        for name in files {
            let mut file = match stored.weights(name) {
                Ok(file) => file,
                Err(error) => {
                    problems.push(format!("{name}: {}", with_causes(&error)));
                    continue;
                }
            };
            for (reference, value) in self.0.iter().filter(|(reference, _)| reference.file_name == name) {
                if let Err(error) = check_blob(&mut file, reference, value) {
                    problems.push(format!("{name} at {}: {}", reference.offset, with_causes(&error)));
                }
            }
        }
        problems
    }
}

fn check_blob<R: std::io::Read + std::io::Seek>(
    file: &mut BlobFile<R>,
    reference: &BlobReference,
    value: &Value,
) -> Result<(), BlobError> {
    let blob = file.record(reference.offset)?;
    let Some(ty) = value.tensor_type() else { return Ok(()) };
    let count = ty.element_count().unwrap_or(0);
    if (blob.dtype, blob.element_count()) == (ty.dtype, count) {
        return Ok(());
    }
    Err(BlobError::Field {
        field: "the blob",
        offset: reference.offset,
        expected: ty.to_string(),
        found: format!("{} elements of type {}", blob.element_count(), blob.dtype),
    })
}

/// Weights are `const` and `constexpr_*` ops with a blob; the first blob by argument name that has the most elements gives
/// the encoding.
fn encodings(program: &Program) -> BTreeMap<String, EncodingReport> {
    let mut seen = BTreeSet::new();
    let mut encodings: BTreeMap<String, EncodingReport> = BTreeMap::new();
    for operation in operations(program) {
        let blobs: Vec<&Value> =
            operation.values().map(|(_, value)| value).filter(|value| value.as_blob().is_some()).collect();
        let elements = |value: &&Value| value.tensor_type().and_then(TensorType::element_count).unwrap_or(0);
        let Some(main) = blobs.iter().max_by_key(|value| elements(value)) else { continue };
        if !main.as_blob().is_some_and(|reference| seen.insert(reference)) {
            continue;
        }
        let dtype = main.tensor_type().map_or_else(String::new, |ty| ty.dtype.to_string());
        let name =
            if operation.op == anec_mil::ops::special::CONST { dtype } else { format!("{} {dtype}", operation.op) };
        let entry = encodings.entry(name).or_default();
        entry.weights += 1;
        entry.elements += elements(main);
        entry.bytes += blobs.iter().map(|value| value_bytes(value)).sum::<u64>();
    }
    encodings
}
