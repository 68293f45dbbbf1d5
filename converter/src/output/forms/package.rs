//! Packages: a model message with a manifest.

use std::collections::BTreeSet;
use std::path::Path;

use anec_mil::package::{
    MANIFEST_PATH, MODEL_PATH, Model, PACKAGE_EXTENSION, WEIGHTS_DIRECTORY, WEIGHTS_PATH, encode_model,
};
use anec_runtime::{OpenError, open_model};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights as WeightFiles;
use fs_err as fs;

use super::{Form, FormError, ModelFiles, Weights};

/// The form.
pub(super) struct Package;

impl Form for Package {
    fn name(&self) -> &'static str {
        PACKAGE_EXTENSION
    }

    fn summary(&self) -> &'static str {
        "a package, which Core ML's tools and Python open"
    }

    fn weights(&self) -> Weights {
        Weights::Whole(WEIGHTS_PATH)
    }

    fn write(&self, directory: &Path, files: &ModelFiles) -> Result<(), FormError> {
        let message = directory.join(MODEL_PATH);
        if let Some(parent) = message.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(message, &files.message)?;
        fs::write(directory.join(MANIFEST_PATH), Manifest::for_package(WeightFiles::Present).to_json())?;
        Ok(())
    }
}

/// Writes everything but the weights of any model below `directory`, and reads it back from there. `weight_files` are those
/// that the program names.
///
/// # Errors
/// The model has no package, the disk is full, or what was written reads back as another model.
pub(crate) fn write(directory: &Path, model: &Model, weight_files: &BTreeSet<String>) -> Result<(), FormError> {
    let failed = |source| OpenError::model(directory, source);
    let message = encode_model(model).map_err(|source| failed(source.into()))?;
    write_message(directory, &message, weight_files)?;
    let again = open_model(directory)?.model().map_err(failed)?;
    // By bytes, for which a nan equals itself.
    if encode_model(&again).map_err(|source| failed(source.into()))? == message {
        return Ok(());
    }
    Err(FormError::Differs { path: directory.to_owned() })
}

/// Writes a package of this message, but for its weights, below `directory`.
///
/// # Errors
/// The disk is full.
pub(crate) fn write_message(
    directory: &Path,
    message: &[u8],
    weight_files: &BTreeSet<String>,
) -> Result<(), FormError> {
    let path = directory.join(MODEL_PATH);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, message)?;
    let weights = if weight_files.is_empty() { WeightFiles::Absent } else { WeightFiles::Present };
    if weights == WeightFiles::Present {
        fs::create_dir_all(directory.join(WEIGHTS_DIRECTORY))?;
    }
    fs::write(directory.join(MANIFEST_PATH), Manifest::for_package(weights).to_json())?;
    Ok(())
}
