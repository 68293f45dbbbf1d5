//! `anec compile`.

use std::path::PathBuf;
use std::process::ExitCode;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompileOptions, Unproven};
use anec_mil::stored::{Form, StoredModel};
use anec_runtime::FsPackage;
use clap::Args;

use super::rewrite::{self, Rewrite};
use crate::console::{Console, Failure};
use crate::output::forms::{self, FormError};
use crate::output::staging::Kind;

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
    let output = rewrite::output(arguments.output.as_ref(), path, COMPILED_EXTENSION);
    let rewrite = Rewrite { action: "compile", path, output: &output, kind: Kind::Compiled, force: arguments.force };
    let refused = || rewrite.refused("it is compiled already", "give the .mlpackage that it was made from");
    let message = |stored: &StoredModel<FsPackage>| -> Result<Vec<u8>, Failure> {
        stored.message_bytes().map_err(|error| rewrite.failed(error))?.ok_or_else(refused)
    };
    let accept = |stored: &StoredModel<FsPackage>| message(stored).map(|_| ());
    rewrite.run(console, accept, |source, directory| {
        let message = message(source.stored)?;
        let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let message_name = if source.stored.form() == Form::Message { name.clone() } else { "model".to_owned() };
        let unproven = if arguments.unproven { Unproven::Allowed } else { Unproven::Refused };
        let options =
            CompileOptions { message_name: &message_name, unproven, ..CompileOptions::package(&name, &message) };
        let files = compiled::compile(source.model, &options);
        let files =
            files.map_err(|error| FormError::Compile { name: path.display().to_string(), source: Box::new(error) })?;
        for warning in &files.warnings {
            console.warning(&warning.to_string());
        }
        for form in &files.unproven {
            console.warning(&format!("no compiled model was seen with {form}; it is written as all else is"));
        }
        Ok(forms::compiled::write(directory, &files, source.model)?)
    })
}
