//! What both forms of a model on disk have in common: weight files that are copied as they are.

use std::collections::BTreeSet;
use std::path::Path;

use anec_mil::stored::StoredModel;
use anec_runtime::{FsPackage, OpenError, files_root, open_model};
use fs_err as fs;

use super::FormError;

/// Copies every weight file that a program names into the model at `output`; a link would change with the original.
///
/// # Errors
/// A name leads out of a model, or a file cannot be copied.
pub(crate) fn copy_weights(
    stored: &StoredModel<FsPackage>,
    path: &Path,
    names: &BTreeSet<String>,
    output: &Path,
) -> Result<(), FormError> {
    let written = open_model(output)?;
    let root = files_root(path);
    let failed = |source| OpenError::model(path, source);
    for name in names {
        let from = root.join(stored.weight_path(name).map_err(failed)?);
        let to = output.join(written.weight_path(name).map_err(failed)?);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, to)?;
    }
    Ok(())
}
