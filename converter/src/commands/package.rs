//! `anec package`.

use std::path::PathBuf;
use std::process::ExitCode;

use anec_mil::package::{PACKAGE_EXTENSION, WEIGHTS_DIRECTORY};
use anec_mil::stored::Form;
use anec_runtime::{OpenError, PackageReport, open_model};
use clap::Args;

use crate::console::{Console, Failure, counted};
use crate::interrupt::{self, Interrupt};
use crate::output::forms::{model_directory, package};
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
    /// A .mlmodelc or .mlmodel that holds an ML Program; who made it does not matter.
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
    let refused = |message: &str, hint: &str| Failure {
        message: format!("Cannot make a package of `{}`: {message}", path.display()),
        hint: Some(hint.to_owned()),
    };
    let stored = open_model(path)?;
    let failed = |source| OpenError::model(path, source);
    if stored.form() == Form::Package {
        return Err(refused("it is one already", "give a .mlmodelc, or a .mlmodel"));
    }
    Staging::check(Kind::Package, &output, arguments.force)?;
    let report = PackageReport::open(path)?;
    if let [problem, ..] = report.problems.as_slice() {
        let message = format!("{}, the first: {problem}", counted(report.problems.len(), "problem"));
        return Err(refused(&message, "`anec inspect` lists all of them"));
    }
    let model = stored.model().map_err(failed)?;
    let identity = Identity::once();
    let staging = Staging::open(Kind::Package, &output, arguments.force, Unfinished::Discard, &identity)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will leave `{}` behind: {error}", staging.path().display()));
        Interrupt::default()
    });
    package::write(&staging.path(), &model, &report.weight_files)?;
    let written = open_model(&staging.path())?;
    for name in &report.weight_files {
        let place = written.weight_path(name).map_err(failed)?;
        if !place.starts_with(&format!("{WEIGHTS_DIRECTORY}/")) {
            return Err(refused(
                &format!("its weight file is called `{name}`"),
                "packages have their weight files in `@model_path/weights/`",
            ));
        }
    }
    model_directory::copy_weights(&stored, path, &report.weight_files, &staging.path())?;
    if interrupt.is_set() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    staging.publish()?;
    console.status(&format!("Wrote `{}`", output.display()));
    Ok(ExitCode::SUCCESS)
}
