//! `kernels.json`, read off the programs and weight files of a plan.

use std::collections::BTreeMap;

use anec_mil::compiled::{LOOSE_BUILD_INFO, LOOSE_EXTENSION, ONLY_RECORD, PROGRAM_PATH, blob_file_name, blob_files};
use anec_mil::{Operation, TensorType, ValueType, WEIGHT_FILE};
use anec_schemas::MetaError;
use anec_schemas::kernels::{
    KERNELS_VERSION, KernelBlob, KernelProgram, KernelRecord, KernelTensor, KernelWeightFile, KernelsManifest,
};

use crate::output::forms::{FORMS, Weights};
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
    let has_text = plan.options.emit.has(LOOSE_EXTENSION);
    let function = file.program().functions.values().next().expect("every program has a function");
    let made = function.block.operations.iter().flat_map(|operation| &operation.outputs);
    let outputs: Vec<_> = made.filter(|value| function.block.outputs.contains(&value.name)).collect();
    let tensors = |values: &mut dyn Iterator<Item = (&String, &ValueType)>| {
        let mut tensors: Vec<KernelTensor> = values.filter_map(|(name, ty)| tensor(name, ty)).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    let places = Places::of(plan, file);
    KernelProgram {
        name: file.stem.clone(),
        role: file.label.role.to_string(),
        layer: file.label.has_layers().then_some(file.label.layers.start as u64),
        text: has_text.then(|| format!("{}.{LOOSE_EXTENSION}/{PROGRAM_PATH}", file.stem)),
        inputs: tensors(&mut function.inputs.iter().map(|input| (&input.name, &input.ty))),
        outputs: tensors(&mut outputs.into_iter().map(|output| (&output.name, &output.ty))),
        blobs: file.weights.provenance().map(|weight| blob(file, &places, &weight)).collect(),
        weight_files: places.files,
    }
}

/// Where a program's blobs are.
struct Places {
    files: Vec<KernelWeightFile>,
    /// By the offset in the whole weight file; none where that is what there is.
    alone: BTreeMap<u64, String>,
}

impl Places {
    fn of(plan: &ConversionPlan, file: &FilePlan) -> Self {
        if plan.options.emit.has(LOOSE_EXTENSION) {
            return Self::of_text(file);
        }
        let whole = FORMS.iter().filter(|form| plan.options.emit.has(form.name())).find_map(|form| {
            let Weights::Whole(path) = form.weights() else { return None };
            let path = format!("{}.{}/{path}", file.stem, form.name());
            Some(KernelWeightFile { name: WEIGHT_FILE.to_owned(), path, bytes: file.weight_bytes })
        });
        Self { files: whole.into_iter().collect(), alone: BTreeMap::new() }
    }

    fn of_text(file: &FilePlan) -> Self {
        let paths: BTreeMap<u64, String> =
            blob_files(file.program()).into_iter().map(|(reference, path)| (reference.offset, path)).collect();
        let files = file.weights.layout().alone().filter_map(|(record, alone)| {
            let path = paths.get(&record)?;
            let below = format!("{}.{LOOSE_EXTENSION}/{path}", file.stem);
            Some(KernelWeightFile { name: blob_file_name(path), path: below, bytes: alone.total_size() })
        });
        Self { files: files.collect(), alone: paths }
    }

    /// A record as the program has it.
    fn record(&self, offset: u64) -> KernelRecord {
        match self.alone.get(&offset) {
            Some(path) => KernelRecord { file: blob_file_name(path), offset: ONLY_RECORD },
            None => KernelRecord { file: WEIGHT_FILE.to_owned(), offset },
        }
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

fn blob(file: &FilePlan, places: &Places, weight: &Provenance<'_>) -> KernelBlob {
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
        records: weight.blobs.iter().map(|offset| places.record(*offset)).collect(),
        bytes: ty.map_or(0, bytes),
    }
}
