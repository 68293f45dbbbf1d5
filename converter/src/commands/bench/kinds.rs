//! The programs of a directory by kind: those of the layout `kernels` and those of the layout `training`.

use std::path::Path;

use anec_runtime::{CompanionError, ModelDirectory, ModelPart, PartError, PartLabel, read_companion};
use anec_schemas::contract::Role;
use anec_schemas::contract::kernels::{EMBEDDINGS, NORMS};
use anec_schemas::kernels::{KERNELS_JSON, KernelsError, KernelsManifest};
use anec_schemas::training::{TRAINING_JSON, TrainingManifest, TrainingManifestError};
use fs_err as fs;

use crate::error::Hint;
use crate::training::Kind as TrainingKind;

/// Largest manifest that is read, in bytes; one of 2000 programs has about 3 MB.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Programs that compute the same with different weights.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// What they do.
    pub(super) name: String,
    /// The programs; one where weights are inputs.
    pub(super) programs: Vec<ModelPart>,
    /// Multiplications and additions of one call of each of them.
    pub(super) operations: u64,
    /// Bytes of weights, inputs and outputs of one call of each of them.
    pub(super) bytes: u64,
    /// Calls of a token or a training step.
    pub(super) calls: usize,
}

/// A directory whose programs cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum KindsError {
    /// A program is missing.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The manifest of kernels.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// The manifest of a training step.
    #[error(transparent)]
    Training(#[from] TrainingManifestError),
    /// The manifest names a program that the layout does not have, or lacks one.
    #[error("`{manifest}` has no program `{name}` of this layout")]
    Unknown {
        /// The manifest.
        manifest: &'static str,
        /// The program.
        name: String,
    },
    /// There is no manifest.
    #[error("`{manifest}` is not there")]
    Missing {
        /// The manifest.
        manifest: &'static str,
    },
    /// The manifest cannot be read.
    #[error(transparent)]
    Companion(#[from] CompanionError),
    /// The directory cannot be read.
    #[error("Cannot read the directory")]
    Io(#[from] std::io::Error),
}

impl Hint for KindsError {
    fn hint(&self) -> Option<String> {
        Some("convert the model again".to_owned())
    }
}

/// Whether a path is a directory of programs of a training step.
pub(super) fn is_training(path: &Path) -> bool {
    path.join(TRAINING_JSON).is_file()
}

/// The kinds of projections of a directory of kernels, in the order of a token.
pub(super) fn of_kernels(directory: &ModelDirectory) -> Result<Vec<Kind>, KindsError> {
    let manifest = KernelsManifest::from_json(&read(directory.root(), KERNELS_JSON)?)?;
    let mut kinds: Vec<Kind> = Vec::new();
    for part in directory.parts() {
        let role = part.label.role;
        if [EMBEDDINGS, NORMS].contains(&role) {
            continue;
        }
        let unknown = || KindsError::Unknown { manifest: KERNELS_JSON, name: part.stem.clone() };
        let program = manifest.programs.iter().find(|program| program.name == part.stem).ok_or_else(unknown)?;
        let channels = |shape: &[u64]| shape.get(1).copied().unwrap_or(0);
        let given: u64 = program.inputs.iter().map(|input| channels(&input.shape)).sum();
        let made: u64 = program.outputs.iter().map(|output| channels(&output.shape)).sum();
        let moved = program.inputs.iter().chain(&program.outputs).map(|tensor| tensor.bytes).sum::<u64>();
        let operations = given.saturating_mul(made).saturating_mul(manifest.query_length).saturating_mul(2);
        let bytes = program.weight_bytes().saturating_add(moved);
        let known = kinds.iter().position(|kind| kind.name == role.0);
        let index = known.unwrap_or_else(|| {
            kinds.push(Kind { name: role.0.to_owned(), programs: Vec::new(), operations: 0, bytes: 0, calls: 0 });
            kinds.len() - 1
        });
        let kind = kinds.get_mut(index).expect("a place among the kinds");
        kind.programs.push(part.clone());
        kind.operations = kind.operations.saturating_add(operations);
        kind.bytes = kind.bytes.saturating_add(bytes);
        kind.calls += 1;
    }
    Ok(kinds)
}

/// The kinds of programs of a training step, in the order of a step.
pub(super) fn of_training(path: &Path) -> Result<Vec<Kind>, KindsError> {
    let root = fs::canonicalize(path)?;
    let manifest = TrainingManifest::from_json(&read(&root, TRAINING_JSON)?)?;
    let mut kinds = Vec::with_capacity(manifest.programs.len());
    for program in &manifest.programs {
        let known = TrainingKind::ALL.into_iter().find(|kind| kind.name() == program.name);
        let unknown = || KindsError::Unknown { manifest: TRAINING_JSON, name: program.name.clone() };
        let label = PartLabel::only(Role(known.ok_or_else(unknown)?.name()));
        let part = ModelPart::find(&root, label, program.name.clone())?;
        let bytes: usize = program.inputs.iter().chain([&program.output]).map(|tensor| tensor.bytes).sum();
        kinds.push(Kind {
            name: program.name.clone(),
            programs: vec![part],
            operations: program.operations,
            bytes: bytes as u64,
            calls: manifest.instances,
        });
    }
    Ok(kinds)
}

fn read(root: &Path, manifest: &'static str) -> Result<String, KindsError> {
    read_companion(root, manifest, MAX_MANIFEST_BYTES)?.ok_or(KindsError::Missing { manifest })
}
