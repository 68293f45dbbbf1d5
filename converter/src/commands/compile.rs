//! `anec compile`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompileOptions, Unproven};
use anec_mil::stored::Form;
use anec_runtime::{OpenError, PackageReport, open_model};
use clap::Args;

use crate::console::{Console, Failure, counted};
use crate::interrupt::{self, Interrupt};
use crate::output::forms::{self, FormError, model_directory};
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

    /// Compile ops and inputs, too, of which no compiled form was ever seen: they are written as all others are, and named
    /// in a warning.
    #[arg(long)]
    unproven: bool,

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
    let unproven = if arguments.unproven { Unproven::Allowed } else { Unproven::Refused };
    let options = CompileOptions { message_name: &message_name, unproven, ..CompileOptions::package(&name, &message) };
    let files = compiled::compile(&model, &options);
    let files =
        files.map_err(|source| FormError::Compile { name: path.display().to_string(), source: Box::new(source) })?;
    for warning in &files.warnings {
        console.warning(&warning.to_string());
    }
    for form in &files.unproven {
        console.warning(&format!("no compiled model was seen with {form}; it is written as all else is"));
    }
    let identity = Identity::once();
    let staging = Staging::open(Kind::Compiled, &output, arguments.force, Unfinished::Discard, &identity)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will leave `{}` behind: {error}", staging.path().display()));
        Interrupt::default()
    });
    forms::compiled::write(&staging.path(), &files, &model)?;
    model_directory::copy_weights(&stored, path, &report.weight_files, &staging.path())?;
    if interrupt.is_set() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    staging.publish()?;
    console.status(&format!("Wrote `{}`", output.display()));
    Ok(ExitCode::SUCCESS)
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
