//! Packages on disk.

use std::collections::BTreeSet;
use std::path::Path;

use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, Model, WEIGHTS_DIRECTORY, encode_model};
use anec_runtime::{OpenError, open_model};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;

use super::compiled_model::CompileError;

/// Writes everything but the weights below `directory`, and reads the model back from it. `weight_files` are those that
/// the program names.
///
/// # Errors
/// The model has no package, the disk is full, or what was written reads back as another model.
pub(crate) fn write(directory: &Path, model: &Model, weight_files: &BTreeSet<String>) -> Result<(), CompileError> {
    let failed = |source| OpenError::model(directory, source);
    let message = encode_model(model).map_err(|source| failed(source.into()))?;
    let path = directory.join(MODEL_PATH);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, &message)?;
    let weights = if weight_files.is_empty() { Weights::Absent } else { Weights::Present };
    if weights == Weights::Present {
        fs::create_dir_all(directory.join(WEIGHTS_DIRECTORY))?;
    }
    fs::write(directory.join(MANIFEST_PATH), Manifest::for_package(weights).to_json())?;
    let again = open_model(directory)?.model().map_err(failed)?;
    // By bytes, for which a nan equals itself.
    if encode_model(&again).map_err(|source| failed(source.into()))? == message {
        return Ok(());
    }
    Err(CompileError::Differs { path: directory.to_owned() })
}
