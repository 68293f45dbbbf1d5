//! A program as text with its weights, each blob in a file of its own, and nothing else.

use std::path::Path;

use anec_mil::compiled::{LOOSE_EXTENSION, LooseModel, PROGRAM_PATH, blob_files, loose_text, with_blob_files};
use anec_mil::package::FilesInMemory;
use anec_mil::text::TextVersion;
use anec_runtime::OpenError;
use fs_err as fs;

use super::{Form, FormError, ModelFiles, Weights};

/// The form.
pub(super) struct Text;

impl Form for Text {
    fn name(&self) -> &'static str {
        LOOSE_EXTENSION
    }

    fn summary(&self) -> &'static str {
        "a program as text with its weights, for runtimes below Core ML"
    }

    fn weights(&self) -> Weights {
        Weights::ByBlob
    }

    fn write(&self, directory: &Path, files: &ModelFiles) -> Result<(), FormError> {
        let failed = |source| FormError::Compile { name: directory.display().to_string(), source: Box::new(source) };
        let version = TextVersion::for_specification_version(files.model.specification_version);
        let program = with_blob_files(files.model.program.clone(), &blob_files(&files.model.program));
        let text = loose_text(&program, version).map_err(failed)?;
        let files_read: FilesInMemory = [(PROGRAM_PATH.to_owned(), text.clone().into_bytes())].into_iter().collect();
        let again = LooseModel::new(files_read).model().map_err(|source| OpenError::model(directory, source.into()))?;
        // By its text, for which a nan equals itself.
        if loose_text(&again.program, version).map_err(failed)? != text {
            return Err(FormError::Differs { path: directory.to_owned() });
        }
        fs::create_dir_all(directory)?;
        fs::write(directory.join(PROGRAM_PATH), text)?;
        Ok(())
    }
}
