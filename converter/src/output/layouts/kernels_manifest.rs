//! `kernels.json`, read off the programs and weight files of a plan.

use anec_mil::compiled::{LOOSE_BUILD_INFO, LOOSE_EXTENSION, PROGRAM_PATH};
use anec_mil::{Operation, TensorType, ValueType, WEIGHT_FILE};
use anec_schemas::MetaError;
use anec_schemas::kernels::{KERNELS_VERSION, KernelBlob, KernelProgram, KernelTensor, KernelsManifest};

use crate::output::forms::FORMS;
use crate::plan::{ConversionPlan, FilePlan};
use crate::weights::weight_file::Provenance;

/// By what texts call the directory that they are in.
const MODEL_PATH: &str = "@model_path";

/// The version of texts for the Neural Engine's own interface.
const PROGRAM_VERSION: &str = "1.3";

/// The text of the file.
pub(super) fn text(plan: &ConversionPlan) -> Result<String, MetaError> {
    let manifest = KernelsManifest {
        version: KERNELS_VERSION,
        query_length: u64::from(plan.options.batch_size),
        program_version: PROGRAM_VERSION.to_owned(),
        build_info: LOOSE_BUILD_INFO.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        model_path: MODEL_PATH.to_owned(),
        programs: plan.files.iter().map(|file| program(plan, file)).collect(),
    };
    Ok(manifest.to_json()?)
}

fn program(plan: &ConversionPlan, file: &FilePlan) -> KernelProgram {
    let emitted = |name: &str| plan.options.emit.has(name);
    let holder = FORMS.iter().copied().find(|form| emitted(form.name())).expect("plans without a form are refused");
    let weights = if emitted(LOOSE_EXTENSION) { crate::output::forms::find(LOOSE_EXTENSION) } else { None };
    let weights = weights.unwrap_or(holder);
    let function = file.program().functions.values().next().expect("every program has a function");
    let made = function.block.operations.iter().flat_map(|operation| &operation.outputs);
    let outputs: Vec<_> = made.filter(|value| function.block.outputs.contains(&value.name)).collect();
    let tensors = |values: &mut dyn Iterator<Item = (&String, &ValueType)>| {
        let mut tensors: Vec<KernelTensor> = values.filter_map(|(name, ty)| tensor(name, ty)).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    KernelProgram {
        name: file.stem.clone(),
        role: file.label.role.to_string(),
        layer: file.label.has_layers().then_some(file.label.layers.start as u64),
        text: emitted(LOOSE_EXTENSION).then(|| format!("{}.{LOOSE_EXTENSION}/{PROGRAM_PATH}", file.stem)),
        weights: format!("{}.{}/{}", file.stem, weights.name(), weights.weights_path()),
        weights_name: WEIGHT_FILE.to_owned(),
        weight_file_bytes: file.weight_bytes,
        inputs: tensors(&mut function.inputs.iter().map(|input| (&input.name, &input.ty))),
        outputs: tensors(&mut outputs.into_iter().map(|output| (&output.name, &output.ty))),
        blobs: file.weights.provenance().map(|weight| blob(file, &weight)).collect(),
    }
}

fn tensor(name: &str, ty: &ValueType) -> Option<KernelTensor> {
    let ty = ty.as_tensor()?;
    let (name, dtype) = (name.to_owned(), ty.dtype.to_string());
    Some(KernelTensor { name, dtype, shape: ty.fixed_shape()?, bytes: bytes(ty) })
}

fn bytes(ty: &TensorType) -> u64 {
    ty.element_count().map_or(0, |count| (count * u64::from(ty.dtype.bits())).div_ceil(8))
}

fn blob(file: &FilePlan, weight: &Provenance<'_>) -> KernelBlob {
    let first = weight.blobs.first();
    let operations = file.program().functions.values().flat_map(|function| &function.block.operations);
    let values = operations.flat_map(Operation::values).map(|(_, value)| value);
    let mut stored = values.filter(|value| value.as_blob().map(|blob| blob.offset) == first.copied());
    let ty = stored.next().and_then(|value| value.tensor_type());
    KernelBlob {
        tensor: weight.tensor.to_owned(),
        rows: [weight.rows.start, weight.rows.end],
        columns: [weight.columns.start, weight.columns.end],
        encoding: weight.storage.to_string(),
        records: weight.blobs.to_vec(),
        bytes: ty.map_or(0, bytes),
    }
}
