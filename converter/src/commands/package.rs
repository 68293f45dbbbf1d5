//! `anec package`.

use std::path::PathBuf;
use std::process::ExitCode;

use anec_mil::package::{PACKAGE_EXTENSION, WEIGHTS_DIRECTORY};
use anec_mil::stored::{Form, StoredModel};
use anec_runtime::{FsPackage, open_model};
use clap::Args;

use super::rewrite::{self, Rewrite};
use crate::console::{Console, Failure};
use crate::output::forms::package;
use crate::output::staging::Kind;

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
    let output = rewrite::output(arguments.output.as_ref(), path, PACKAGE_EXTENSION);
    let action = "make a package of";
    let rewrite = Rewrite { action, path, output: &output, kind: Kind::Package, force: arguments.force };
    let accept = |stored: &StoredModel<FsPackage>| match stored.form() {
        Form::Package => Err(rewrite.refused("it is one already", "give a .mlmodelc, or a .mlmodel")),
        Form::Compiled | Form::Message => Ok(()),
    };
    rewrite.run(console, accept, |source, directory| {
        package::write(directory, source.model, source.weight_files)?;
        let written = open_model(directory)?;
        for name in source.weight_files {
            let place = written.weight_path(name).map_err(|error| rewrite.failed(error))?;
            if !place.starts_with(&format!("{WEIGHTS_DIRECTORY}/")) {
                return Err(rewrite.refused(
                    &format!("its weight file is called `{name}`"),
                    "packages have their weight files in `@model_path/weights/`",
                ));
            }
        }
        Ok(())
    })
}
