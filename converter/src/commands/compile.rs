//! `anec compile`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompileOptions, CompiledError, Unproven, compile_pipeline};
use anec_mil::package::Pipeline;
use anec_mil::verify::Finding;
use anec_runtime::open_model;
use clap::Args;

use super::rewrite::{self, Rewrite};
use crate::console::{Console, Failure};
use crate::output::forms::{self, FormError, model_directory};
use crate::output::staging::Kind;

/// Arguments of `anec compile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec compile Model.mlpackage                    # writes Model.mlmodelc beside it
  anec compile Model.mlpackage -o out/Model.mlmodelc
  anec compile model.mlmodel -o Model.mlmodelc    # weight files are looked for beside the message")]
pub struct Arguments {
    /// A .mlpackage or .mlmodel that holds an ML Program, or a pipeline of some; who made it does not matter.
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

    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Compiles a model.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let path = &arguments.model;
    let output = rewrite::output(arguments.output.as_ref(), path, COMPILED_EXTENSION);
    let rewrite = Rewrite {
        action: "compile",
        path,
        output: &output,
        kind: Kind::Compiled,
        force: arguments.force,
        json: arguments.json,
    };
    let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let message_name = if path.is_file() { name.clone() } else { "model".to_owned() };
    let unproven = if arguments.unproven { Unproven::Allowed } else { Unproven::Refused };
    let stored = open_model(path)?;
    let Some(message) = stored.message_bytes().map_err(|error| rewrite.failed(error))? else {
        return Err(rewrite.refused("it is compiled already", "give the .mlpackage that it was made from"));
    };
    let options = CompileOptions { message_name: &message_name, unproven, ..CompileOptions::package(&name, &message) };
    if let Some(pipeline) = stored.pipeline().map_err(|error| rewrite.failed(error))? {
        return whole_pipeline(&rewrite, &pipeline, &options, console);
    }
    rewrite.run(
        console,
        |_| Ok(()),
        |source, directory| {
            let files = compiled::compile(source.model, &options);
            let files = files.map_err(|error| compile_error(path, error))?;
            warn(&files.warnings, &files.unproven, console);
            Ok(forms::compiled::write(directory, &files, source.model)?)
        },
    )
}

/// Compiles every member of a pipeline.
fn whole_pipeline(
    rewrite: &Rewrite<'_>,
    pipeline: &Pipeline,
    options: &CompileOptions<'_>,
    console: Console,
) -> Result<ExitCode, Failure> {
    rewrite.check()?;
    let compiled = compile_pipeline(pipeline, options).map_err(|error| compile_error(rewrite.path, error))?;
    let mut weights = Vec::new();
    for (directory, _) in &compiled.programs {
        weights.push(rewrite.weight_files(&rewrite.path.join(directory))?);
    }
    warn(&compiled.warnings, &compiled.unproven, console);
    rewrite.publish(console, |staged| {
        forms::compiled::write_files(staged, &compiled.files)?;
        for ((directory, model), names) in compiled.programs.iter().zip(&weights) {
            let (source, member) = (rewrite.path.join(directory), staged.join(directory));
            forms::compiled::check(&member, model)?;
            model_directory::copy_weights(&open_model(&source)?, &source, names, &member)?;
        }
        Ok(())
    })
}

fn compile_error(path: &Path, source: CompiledError) -> FormError {
    FormError::Compile { name: path.display().to_string(), source: Box::new(source) }
}

fn warn(warnings: &[Finding], unproven: &[String], console: Console) {
    for warning in warnings {
        console.warning(&warning.to_string());
    }
    for form in unproven {
        console.warning(&format!("no compiled model was seen with {form}; it is written as all else is"));
    }
}
