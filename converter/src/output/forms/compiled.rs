//! Compiled models: the program as text.

use std::path::Path;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompiledFiles};
use anec_mil::package::{Model, encode_model};
use anec_runtime::{OpenError, open_model};
use fs_err as fs;

use super::{Form, FormError, ModelFiles};

/// The form.
pub(super) struct Compiled;

impl Form for Compiled {
    fn name(&self) -> &'static str {
        COMPILED_EXTENSION
    }

    fn summary(&self) -> &'static str {
        "a compiled model, which apps load"
    }

    fn weights_path(&self) -> &'static str {
        compiled::WEIGHTS_PATH
    }

    fn write(&self, directory: &Path, files: &ModelFiles) -> Result<(), FormError> {
        write(directory, &files.compiled, &files.model)
    }
}

/// Writes everything but the weights below `directory`, and reads the model back from it.
pub(crate) fn write(directory: &Path, files: &CompiledFiles, model: &Model) -> Result<(), FormError> {
    for (path, bytes) in files.files() {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    let failed = |source| OpenError::model(directory, source);
    let again = open_model(directory)?.model().map_err(failed)?;
    // By bytes, for which a nan equals itself.
    let bytes = |model: &Model| encode_model(model).map_err(|source| failed(source.into()));
    if bytes(&again)? == bytes(&compiled::normalized(model.clone()))? {
        return Ok(());
    }
    Err(FormError::Differs { path: directory.to_owned() })
}
