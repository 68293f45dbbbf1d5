//! `anec compile`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompileOptions};
use anec_mil::stored::{Form, StoredModel};
use anec_runtime::{FsPackage, OpenError, PackageReport, open_model};
use clap::Args;
use fs_err as fs;

use crate::console::{Console, Failure, counted};
use crate::interrupt::{self, Interrupt};
use crate::output::forms::{self, FormError};
use crate::output::staging::{Identity, Kind, Staging, Unfinished};

/// Arguments of `anec compile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec compile Model.mlpackage                    # writes Model.mlmodelc beside it
  anec compile Model.mlpackage -o out/Model.mlmodelc
  anec compile model.mlmodel -o Model.mlmodelc    # weight files are looked for beside the message")]
pub struct Arguments {
    /// A .mlpackage or .mlmodel that holds an ML Program; who made it does not matter.
    model: PathBuf,

    /// Compiled model to write [default: beside the model].
    #[arg(short, long, value_name = "OUT.mlmodelc")]
    output: Option<PathBuf>,

    /// Replace a compiled model that exists, if there is nothing else in it.
    #[arg(long)]
    force: bool,

    /// Print only errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Compiles a model.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let path = &arguments.model;
    let output = arguments.output.clone().unwrap_or_else(|| path.with_extension(COMPILED_EXTENSION));
    let refused = |message: &str, hint: &str| Failure {
        message: format!("Cannot compile `{}`: {message}", path.display()),
        hint: Some(hint.to_owned()),
    };
    let stored = open_model(path)?;
    let failed = |source| OpenError::model(path, source);
    let Some(message) = stored.message_bytes().map_err(failed)? else {
        return Err(refused("it is compiled already", "give the .mlpackage that it was made from"));
    };
    Staging::check(Kind::Compiled, &output, arguments.force)?;
    let report = PackageReport::open(path)?;
    if let [problem, ..] = report.problems.as_slice() {
        let message = format!("{}, the first: {problem}", counted(report.problems.len(), "problem"));
        return Err(refused(&message, "`anec inspect` lists all of them"));
    }
    let model = stored.model().map_err(failed)?;
    let name = stem(path);
    let message_name = if stored.form() == Form::Message { name.clone() } else { "model".to_owned() };
    let options = CompileOptions { message_name: &message_name, ..CompileOptions::package(&name, &message) };
    let files = compiled::compile(&model, &options);
    let files =
        files.map_err(|source| FormError::Compile { name: path.display().to_string(), source: Box::new(source) })?;
    for warning in &files.warnings {
        console.warning(&warning.to_string());
    }
    let identity = Identity::once();
    let staging = Staging::open(Kind::Compiled, &output, arguments.force, Unfinished::Discard, &identity)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will leave `{}` behind: {error}", staging.path().display()));
        Interrupt::default()
    });
    forms::compiled::write(&staging.path(), &files, &model)?;
    copy_weights(&stored, path, &report.weight_files, &staging.path())?;
    if interrupt.is_set() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    staging.publish()?;
    console.status(&format!("Wrote `{}`", output.display()));
    Ok(ExitCode::SUCCESS)
}

/// Copies every weight file that the program names; a link would change with the package.
fn copy_weights(
    stored: &StoredModel<FsPackage>,
    path: &Path,
    names: &BTreeSet<String>,
    output: &Path,
) -> Result<(), Failure> {
    let compiled = open_model(output)?;
    // The files of a message are beside it, those of a package below it.
    let root = if path.is_file() { path.parent().unwrap_or(Path::new("")) } else { path };
    let failed = |source| OpenError::model(path, source);
    for name in names {
        let from = root.join(stored.weight_path(name).map_err(failed)?);
        let to = output.join(compiled.weight_path(name).map_err(failed)?);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(FormError::Io)?;
        }
        fs::copy(from, to).map_err(FormError::Io)?;
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
