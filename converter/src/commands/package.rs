//! `anec package`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::compiled::{DATA_PATH, decompile_pipeline};
use anec_mil::package::{PACKAGE_EXTENSION, WEIGHTS_DIRECTORY, encode_pipeline};
use anec_mil::stored::{Form, StoredModel};
use anec_runtime::{FsPackage, OpenError, open_model, pipeline_members};
use clap::Args;
use fs_err as fs;

use super::model_files;
use super::rewrite::{self, Rewrite};
use crate::console::{Console, Failure};
use crate::output::forms::{FormError, model_directory, package};
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
    /// A .mlmodelc that holds an ML Program or a pipeline, or a .mlmodel; who made it does not matter.
    model: PathBuf,

    /// Package to write [default: beside the model].
    #[arg(short, long, value_name = "OUT.mlpackage")]
    output: Option<PathBuf>,

    /// Replace a package that exists, if there is nothing else in it.
    #[arg(long)]
    force: bool,

    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a package of a compiled model.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let path = &arguments.model;
    let output = rewrite::output(arguments.output.as_ref(), path, PACKAGE_EXTENSION);
    let action = "make a package of";
    let rewrite =
        Rewrite { action, path, output: &output, kind: Kind::Package, force: arguments.force, json: arguments.json };
    if let Some(members) = pipeline_members(path)? {
        return whole_pipeline(&rewrite, &model_files::programs(&members), console);
    }
    let accept = |stored: &StoredModel<FsPackage>| match stored.form() {
        Form::Package => Err(rewrite.refused("it is one already", "give a .mlmodelc, or a .mlmodel")),
        Form::Compiled | Form::Message | Form::Text => Ok(()),
    };
    rewrite.run(console, accept, |source, directory| {
        package::write(directory, source.model, source.weight_files)?;
        check_weight_files(&rewrite, source.weight_files, directory)
    })
}

/// Makes a package of a compiled pipeline, whose programs are at these paths.
fn whole_pipeline(rewrite: &Rewrite<'_>, programs: &[PathBuf], console: Console) -> Result<ExitCode, Failure> {
    let path = rewrite.path;
    if !path.join(DATA_PATH).is_file() {
        return Err(rewrite.refused("it is no compiled pipeline", "give a .mlmodelc"));
    }
    rewrite.check()?;
    let files = FsPackage::new(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let pipeline = decompile_pipeline(&files).map_err(|error| rewrite.failed(error.into()))?;
    let message = encode_pipeline(&pipeline).map_err(|error| rewrite.failed(error.into()))?;
    let mut weights = BTreeMap::new();
    for program in programs {
        for name in rewrite.weight_files(program)? {
            let stored = open_model(program)?;
            let place = stored.weight_path(&name).map_err(|error| rewrite.failed(error))?;
            let bytes = fs::read(program.join(place)).map_err(FormError::from)?;
            if weights.insert(name.clone(), (program, bytes.clone())).is_some_and(|(_, other)| other != bytes) {
                return Err(rewrite.refused(
                    &format!("its members have several weight files called `{name}`"),
                    "make a package of each member, such as `Model.mlmodelc/model0`",
                ));
            }
        }
    }
    rewrite.publish(console, |staged| {
        let names = weights.keys().cloned().collect();
        package::write_message(staged, &message, &names)?;
        check_weight_files(rewrite, &names, staged)?;
        for (name, (program, _)) in &weights {
            model_directory::copy_weights(&open_model(program)?, program, &BTreeSet::from([name.clone()]), staged)?;
        }
        Ok(())
    })
}

/// Requires that weight files are where packages have them.
fn check_weight_files(rewrite: &Rewrite<'_>, names: &BTreeSet<String>, package: &Path) -> Result<(), Failure> {
    let written = open_model(package)?;
    for name in names {
        let place = written.weight_path(name).map_err(|error| rewrite.failed(error))?;
        if !place.starts_with(&format!("{WEIGHTS_DIRECTORY}/")) {
            return Err(rewrite.refused(
                &format!("its weight file is called `{name}`"),
                "packages have their weight files in `@model_path/weights/`",
            ));
        }
    }
    Ok(())
}
