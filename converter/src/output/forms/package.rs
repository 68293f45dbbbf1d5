//! Packages: a model message with a manifest.

use std::path::Path;

use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, PACKAGE_EXTENSION, WEIGHTS_PATH};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;

use super::{Form, FormError, ModelFiles};

/// The form.
pub(super) struct Package;

impl Form for Package {
    fn name(&self) -> &'static str {
        PACKAGE_EXTENSION
    }

    fn summary(&self) -> &'static str {
        "a package, which Core ML's tools and Python open"
    }

    fn weights_path(&self) -> &'static str {
        WEIGHTS_PATH
    }

    fn write(&self, directory: &Path, files: &ModelFiles) -> Result<(), FormError> {
        let message = directory.join(MODEL_PATH);
        if let Some(parent) = message.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(message, &files.message)?;
        fs::write(directory.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
        Ok(())
    }
}
