//! Compiled models: the program as text.

use std::path::Path;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompiledFiles};
use anec_mil::package::{Model, encode_model};
use anec_runtime::{OpenError, open_model};
use fs_err as fs;

use super::{Form, FormError, ModelFiles, Weights};

/// The form.
pub(super) struct Compiled;

impl Form for Compiled {
    fn name(&self) -> &'static str {
        COMPILED_EXTENSION
    }

    fn summary(&self) -> &'static str {
        "a compiled model, which apps load"
    }

    fn weights(&self) -> Weights {
        Weights::Whole(compiled::WEIGHTS_PATH)
    }

    fn write(&self, directory: &Path, files: &ModelFiles) -> Result<(), FormError> {
        write(directory, &files.compiled, &files.model)
    }
}

/// Writes everything but the weights below `directory`, and reads the model back from it.
pub(crate) fn write(directory: &Path, files: &CompiledFiles, model: &Model) -> Result<(), FormError> {
    write_files(directory, &files.files().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())))?;
    check(directory, model)
}

/// Writes files by their path below `directory`.
pub(crate) fn write_files(directory: &Path, files: &[(String, Vec<u8>)]) -> Result<(), FormError> {
    for (path, bytes) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Requires that the compiled model in `directory` reads back as this model.
pub(crate) fn check(directory: &Path, model: &Model) -> Result<(), FormError> {
    let failed = |source| OpenError::model(directory, source);
    let again = open_model(directory)?.model().map_err(failed)?;
    // By bytes, for which a nan equals itself.
    let bytes = |model: &Model| encode_model(model).map_err(|source| failed(source.into()));
    if bytes(&again)? == bytes(&compiled::normalized(model.clone()))? {
        return Ok(());
    }
    Err(FormError::Differs { path: directory.to_owned() })
}
