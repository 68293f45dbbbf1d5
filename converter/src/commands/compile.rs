//! `anec compile`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::compiled::{self, COMPILED_EXTENSION, CompileOptions, CompiledError, Unproven, compile_pipeline};
use anec_mil::package::{Model, Pipeline};
use anec_mil::verify::Finding;
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
    let name = stem(path);
    let message_name = if path.is_file() { name.clone() } else { "model".to_owned() };
    let unproven = if arguments.unproven { Unproven::Allowed } else { Unproven::Refused };
    let options = CompileOptions { message_name: &message_name, unproven, ..CompileOptions::package(&name, &message) };
    let compiled = match stored.pipeline().map_err(failed)? {
        Some(pipeline) => whole_pipeline(path, &pipeline, &options)?,
        None => single(path, &stored.model().map_err(failed)?, &options)?,
    };
    for warning in &compiled.warnings {
        console.warning(&warning.to_string());
    }
    for form in &compiled.unproven {
        console.warning(&format!("no compiled model was seen with {form}; it is written as all else is"));
    }
    let identity = Identity::once();
    let staging = Staging::open(Kind::Compiled, &output, arguments.force, Unfinished::Discard, &identity)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will leave `{}` behind: {error}", staging.path().display()));
        Interrupt::default()
    });
    forms::compiled::write_files(&staging.path(), &compiled.files)?;
    for program in &compiled.programs {
        let directory = staging.path().join(&program.directory);
        forms::compiled::check(&directory, &program.model)?;
        let stored = open_model(&program.source)?;
        model_directory::copy_weights(&stored, &program.source, &program.weight_files, &directory)?;
    }
    if interrupt.is_set() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    staging.publish()?;
    console.status(&format!("Wrote `{}`", output.display()));
    Ok(ExitCode::SUCCESS)
}

/// What a compiled model holds, but for its weights.
struct Compiled {
    files: Vec<(String, Vec<u8>)>,
    programs: Vec<CompiledProgram>,
    warnings: Vec<Finding>,
    unproven: Vec<String>,
}

/// A program of a compiled model.
struct CompiledProgram {
    /// Where it is within the compiled model.
    directory: String,
    model: Model,
    /// What it was compiled from.
    source: PathBuf,
    weight_files: BTreeSet<String>,
}

fn single(path: &Path, model: &Model, options: &CompileOptions<'_>) -> Result<Compiled, Failure> {
    let weight_files = weight_files(path)?;
    let files = compiled::compile(model, options).map_err(|source| compile_error(path, source))?;
    let program =
        CompiledProgram { directory: String::new(), model: model.clone(), source: path.to_owned(), weight_files };
    Ok(Compiled {
        files: files.files().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).into(),
        programs: vec![program],
        warnings: files.warnings,
        unproven: files.unproven,
    })
}

fn whole_pipeline(path: &Path, pipeline: &Pipeline, options: &CompileOptions<'_>) -> Result<Compiled, Failure> {
    let files = compile_pipeline(pipeline, options).map_err(|source| compile_error(path, source))?;
    let mut programs = Vec::new();
    for (directory, model) in files.programs {
        let source = path.join(&directory);
        let weight_files = weight_files(&source)?;
        programs.push(CompiledProgram { directory, model, source, weight_files });
    }
    Ok(Compiled { files: files.files, programs, warnings: files.warnings, unproven: files.unproven })
}

fn compile_error(path: &Path, source: CompiledError) -> FormError {
    FormError::Compile { name: path.display().to_string(), source: Box::new(source) }
}

/// Names of the weight files of a program that has no problem.
fn weight_files(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let report = PackageReport::open(path)?;
    match report.problems.as_slice() {
        [] => Ok(report.weight_files),
        [problem, ..] => Err(Failure {
            message: format!(
                "Cannot compile `{}`: {}, the first: {problem}",
                path.display(),
                counted(report.problems.len(), "problem")
            ),
            hint: Some("`anec inspect` lists all of them".to_owned()),
        }),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
