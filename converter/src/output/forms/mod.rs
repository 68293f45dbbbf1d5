//! How a program lies on disk: a table of forms, one file a row.
//!
//! A form writes everything of a model but its weights. Weights are written once, where the first form of a model has them;
//! the other forms get a link, or copies where they have each blob in a file of its own. A new form is a file with an
//! implementation of `Form` and a line in `FORMS`.

pub(crate) mod compiled;
mod error;
pub(crate) mod model_directory;
pub(crate) mod package;
mod text;

use std::path::Path;

use anec_mil::compiled::{CompileOptions, CompiledFiles, Unproven};
use anec_mil::package::{Model, encode_model};
use anec_runtime::PackageReport;

pub use self::error::FormError;

/// All forms. Of those that are written, the first holds the weights that the others share.
pub(crate) static FORMS: &[&dyn Form] = &[&package::Package, &compiled::Compiled, &text::Text];

/// How the weights of a program lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// In one file, at this path below the directory of the model.
    Whole(&'static str),
    /// Each blob in a file of its own, at the path that the program has for it.
    ByBlob,
}

/// How a program lies on disk.
pub(crate) trait Form: Sync {
    /// Its name, which is also what names of models in this form end in.
    fn name(&self) -> &'static str;

    /// Who opens it, in a few words.
    fn summary(&self) -> &'static str;

    /// How the weights lie below the directory of the model.
    fn weights(&self) -> Weights;

    /// Writes everything but the weights below `directory`.
    ///
    /// # Errors
    /// The disk, or what was written is another model.
    fn write(&self, directory: &Path, files: &ModelFiles) -> Result<(), FormError>;

    /// Opens what was written, weights included, as any reader would: every blob that the program names must be there with
    /// its type and size, and the program must be valid.
    ///
    /// # Errors
    /// It cannot be opened, or something is wrong with it.
    fn read_back(&self, directory: &Path) -> Result<(), FormError> {
        let report = PackageReport::open(directory)?;
        if report.problems.is_empty() {
            return Ok(());
        }
        Err(FormError::Invalid { path: directory.to_owned(), problems: report.problems })
    }
}

/// A model in everything that forms write. Making it compiles the program, and so verifies it.
pub(crate) struct ModelFiles {
    /// The model.
    pub(crate) model: Model,
    /// Its message.
    pub(crate) message: Vec<u8>,
    /// Its compiled form.
    pub(crate) compiled: CompiledFiles,
}

impl ModelFiles {
    /// Makes the files of the model called `stem`.
    pub(crate) fn new(stem: &str, model: Model) -> Result<Self, FormError> {
        let message = encode_model(&model).map_err(|source| FormError::Model { stem: stem.to_owned(), source })?;
        // What no compiled model was seen with is written, and named in a warning.
        let options = CompileOptions { unproven: Unproven::Allowed, ..CompileOptions::package(stem, &message) };
        let compiled = anec_mil::compiled::compile(&model, &options)
            .map_err(|source| FormError::Compile { name: stem.to_owned(), source: Box::new(source) })?;
        Ok(Self { model, message, compiled })
    }
}

/// The form of this name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Form> {
    FORMS.iter().copied().find(|form| form.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_names_of_their_own() {
        for (index, form) in FORMS.iter().enumerate() {
            assert!(FORMS[..index].iter().all(|other| other.name() != form.name()), "{}", form.name());
        }
    }
}
