//! `anec package`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::compiled::{CompiledError, DATA_PATH, decompile_pipeline};
use anec_mil::package::{PACKAGE_EXTENSION, WEIGHTS_DIRECTORY, encode_pipeline};
use anec_mil::stored::Form;
use anec_runtime::{FsPackage, OpenError, PackageReport, open_model, pipeline_members};
use clap::Args;
use fs_err as fs;

use crate::commands::inspect::programs;
use crate::console::{Console, Failure, counted};
use crate::interrupt::{self, Interrupt};
use crate::output::forms::{FormError, model_directory, package};
use crate::output::staging::{Identity, Kind, Staging, Unfinished};

/// Arguments of `anec package`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec package Model.mlmodelc                     # writes Model.mlpackage beside it
  anec package Model.mlmodelc -o out/Model.mlpackage

The package holds the program, the description and the weights of the compiled model, which are all that it was made from:
compiled again, it gives the same program and description. What a compiler drops is not there, such as comments.")]
pub struct Arguments {
    /// A .mlmodelc that holds an ML Program or a pipeline, or a .mlmodel; who made it does not matter.
    model: PathBuf,

    /// Package to write [default: beside the model].
    #[arg(short, long, value_name = "OUT.mlpackage")]
    output: Option<PathBuf>,

    /// Replace a package that exists, if there is nothing else in it.
    #[arg(long)]
    force: bool,

    /// Print only errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Makes a package of a compiled model.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let path = &arguments.model;
    let output = arguments.output.clone().unwrap_or_else(|| path.with_extension(PACKAGE_EXTENSION));
    if let Some(members) = pipeline_members(path)? {
        return whole_pipeline(arguments, &output, &programs(&members), console);
    }
    let stored = open_model(path)?;
    let failed = |source| OpenError::model(path, source);
    if stored.form() == Form::Package {
        return Err(refused(path, "it is one already", "give a .mlmodelc, or a .mlmodel"));
    }
    Staging::check(Kind::Package, &output, arguments.force)?;
    let weight_files = weight_files(path)?;
    let model = stored.model().map_err(failed)?;
    publish(arguments, &output, console, |staged| {
        package::write(staged, &model, &weight_files)?;
        copy_weights(path, &weight_files, staged)
    })
}

/// Makes a package of a compiled pipeline, whose programs are at these paths.
fn whole_pipeline(
    arguments: &Arguments,
    output: &Path,
    programs: &[PathBuf],
    console: Console,
) -> Result<ExitCode, Failure> {
    let path = &arguments.model;
    if !path.join(DATA_PATH).is_file() {
        return Err(refused(path, "it is one already, or a model message", "give a .mlmodelc"));
    }
    let failed = |source: CompiledError| OpenError::model(path, source.into());
    let files = FsPackage::new(path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
    let pipeline = decompile_pipeline(&files).map_err(failed)?;
    let message = encode_pipeline(&pipeline).map_err(|source| failed(source.into()))?;
    Staging::check(Kind::Package, output, arguments.force)?;
    let mut weights = BTreeMap::new();
    for program in programs {
        for name in weight_files(program)? {
            let stored = open_model(program)?;
            let place = stored.weight_path(&name).map_err(|source| OpenError::model(program, source))?;
            let bytes = fs::read(program.join(place)).map_err(FormError::from)?;
            if weights.insert(name.clone(), (program, bytes.clone())).is_some_and(|(_, other)| other != bytes) {
                let message = format!("its members have several weight files called `{name}`");
                return Err(refused(path, &message, "make a package of each member, such as `Model.mlmodelc/model0`"));
            }
        }
    }
    publish(arguments, output, console, |staged| {
        package::write_message(staged, &message, &weights.keys().cloned().collect())?;
        weights
            .iter()
            .try_for_each(|(name, (program, _))| copy_weights(program, &BTreeSet::from([name.clone()]), staged))
    })
}

/// Writes into a directory beside the output, which then takes its place.
fn publish(
    arguments: &Arguments,
    output: &Path,
    console: Console,
    write: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let identity = Identity::once();
    let staging = Staging::open(Kind::Package, output, arguments.force, Unfinished::Discard, &identity)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will leave `{}` behind: {error}", staging.path().display()));
        Interrupt::default()
    });
    write(&staging.path())?;
    if interrupt.is_set() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    staging.publish()?;
    console.status(&format!("Wrote `{}`", output.display()));
    Ok(ExitCode::SUCCESS)
}

/// Copies the weight files of the model at `path` into a package.
fn copy_weights(path: &Path, names: &BTreeSet<String>, package: &Path) -> Result<(), Failure> {
    let written = open_model(package)?;
    for name in names {
        let place = written.weight_path(name).map_err(|source| OpenError::model(package, source))?;
        if !place.starts_with(&format!("{WEIGHTS_DIRECTORY}/")) {
            return Err(refused(
                path,
                &format!("its weight file is called `{name}`"),
                "packages have their weight files in `@model_path/weights/`",
            ));
        }
    }
    Ok(model_directory::copy_weights(&open_model(path)?, path, names, package)?)
}

/// Names of the weight files of a program that has no problem.
fn weight_files(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let report = PackageReport::open(path)?;
    match report.problems.as_slice() {
        [] => Ok(report.weight_files),
        [problem, ..] => {
            let message = format!("{}, the first: {problem}", counted(report.problems.len(), "problem"));
            Err(refused(path, &message, "`anec inspect` lists all of them"))
        }
    }
}

fn refused(path: &Path, message: &str, hint: &str) -> Failure {
    Failure {
        message: format!("Cannot make a package of `{}`: {message}", path.display()),
        hint: Some(hint.to_owned()),
    }
}
