//! What `anec compile` and `anec package` have in common: a model is opened, checked, written in another form beside its
//! weights, and appears whole or not at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::WEIGHT_FILE;
use anec_mil::package::Model;
use anec_mil::stored::{Form, StoredModel, StoredModelError};
use anec_runtime::{FsPackage, OpenError, PackageReport, open_model};

use crate::console::{Console, Failure, counted};
use crate::interrupt::{self, Interrupt};
use crate::output::forms::model_directory::{self, Joined};
use crate::output::staging::{Identity, Kind, Staging, Unfinished};

/// A model that is written in another form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite<'a> {
    /// What is done, after `Cannot`: "compile", "make a package of".
    pub(super) action: &'static str,
    /// The model.
    pub(super) path: &'a Path,
    /// Where it is written.
    pub(super) output: &'a Path,
    /// What is written.
    pub(super) kind: Kind,
    /// Whether an output that exists may be replaced.
    pub(super) force: bool,
    /// Whether what was written is printed as JSON.
    pub(super) json: bool,
}

/// What is there to write from.
#[derive(Debug)]
pub(super) struct Source<'a> {
    /// What its files say.
    pub(super) model: &'a Model,
    /// The weight files, as the program names them.
    pub(super) weight_files: &'a BTreeSet<String>,
}

impl Rewrite<'_> {
    /// Says why it cannot be done, and what to do.
    pub(super) fn refused(&self, message: &str, hint: &str) -> Failure {
        Failure {
            message: format!("Cannot {} `{}`: {message}", self.action, self.path.display()),
            hint: Some(hint.to_owned()),
        }
    }

    /// An error of the model itself.
    pub(super) fn failed(&self, source: StoredModelError) -> OpenError {
        OpenError::model(self.path, source)
    }

    /// Opens the model, has `accept` refuse what is no input, `write` all but the weights in a directory, and copies those.
    pub(super) fn run(
        &self,
        console: Console,
        accept: impl FnOnce(&StoredModel<FsPackage>) -> Result<(), Failure>,
        write: impl FnOnce(&Source<'_>, &Path) -> Result<(), Failure>,
    ) -> Result<ExitCode, Failure> {
        let stored = open_model(self.path)?;
        accept(&stored)?;
        self.check()?;
        let weight_files = self.weight_files(self.path)?;
        let mut model = stored.model().map_err(|source| self.failed(source))?;
        // Packages and compiled models have one weight file, texts one for each blob.
        if stored.form() == Form::Text && weight_files.len() > 1 {
            let (joined, program) = Joined::of(&stored, self.path, model.program)?;
            model.program = program;
            let weight_files = BTreeSet::from([WEIGHT_FILE.to_owned()]);
            let source = Source { model: &model, weight_files: &weight_files };
            return self.publish(console, |directory| {
                write(&source, directory)?;
                Ok(joined.write(&stored, self.path, directory)?)
            });
        }
        let source = Source { model: &model, weight_files: &weight_files };
        self.publish(console, |directory| {
            write(&source, directory)?;
            Ok(model_directory::copy_weights(&stored, self.path, &weight_files, directory)?)
        })
    }

    /// Requires that the output can be written.
    pub(super) fn check(&self) -> Result<(), Failure> {
        Staging::check(self.kind, self.output, self.force)?;
        Ok(())
    }

    /// Names of the weight files of the program at `path`, which must have no problem.
    pub(super) fn weight_files(&self, path: &Path) -> Result<BTreeSet<String>, Failure> {
        let report = PackageReport::open(path)?;
        match report.problems.as_slice() {
            [] => Ok(report.weight_files),
            [problem, ..] => {
                let message = format!("{}, the first: {problem}", counted(report.problems.len(), "problem"));
                Err(self.refused(&message, "`anec inspect` lists all of them"))
            }
        }
    }

    /// Has `write` fill a directory, which then takes the place of the output.
    pub(super) fn publish(
        &self,
        console: Console,
        write: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<ExitCode, Failure> {
        let identity = Identity::once();
        let staging = Staging::open(self.kind, self.output, self.force, Unfinished::Discard, &identity)?;
        let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
            console.warning(&format!("an interrupt will leave `{}` behind: {error}", staging.path().display()));
            Interrupt::default()
        });
        write(&staging.path())?;
        if interrupt.is_set() {
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        staging.publish()?;
        console.status(&format!("Wrote `{}`", self.output.display()));
        if self.json {
            let report = serde_json::json!({"model": self.path, "output": self.output});
            let printed = console.data(&format!("{report}\n"));
            printed.map_err(|error| Failure { message: error.to_string(), hint: None })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the output goes: what was asked for, or beside the model with the extension of its form.
pub(super) fn output(asked: Option<&PathBuf>, path: &Path, extension: &str) -> PathBuf {
    asked.cloned().unwrap_or_else(|| path.with_extension(extension))
}
