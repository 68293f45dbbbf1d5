//! `anec convert --layout training`: the programs of a training step, made of config.json alone.

use std::path::Path;
use std::process::ExitCode;

use anec_mil::compiled::{COMPILED_EXTENSION, LOOSE_EXTENSION};
use anec_mil::package::PACKAGE_EXTENSION;
use anec_schemas::training::TRAINING_JSON;
use clap::Args;
use fs_err as fs;

use super::convert::Arguments;
use crate::console::{Console, Failure};
use crate::training::{self, Kind, TrainingError, WeightForm};

/// The layout whose programs hold no weights.
pub(crate) const LAYOUT: &str = "training";

/// Who opens it.
pub(crate) const SUMMARY: &str = "trainers: six programs of a training step, whose weights are inputs";

/// What shapes the programs of a training step.
#[derive(Debug, Args)]
#[command(next_help_heading = "Programs of a training step")]
pub struct TrainingArguments {
    /// Tokens of a call of the layout `training`.
    #[arg(long, value_name = "TOKENS", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub sequence: u32,

    /// Where the weights of the layout `training` are: in inputs of their own, or packed behind the activations.
    #[arg(long, value_enum, default_value_t)]
    pub training_weights: WeightForm,

    /// Rotate queries and keys in the programs of the layout `training`, neighbouring channels as llama2.c does; the original
    /// programs do not.
    #[arg(long)]
    pub training_rope: bool,
}

/// Writes the programs.
pub(super) fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let model = &arguments.model;
    let TrainingArguments { sequence, training_weights, training_rope } = &model.training;
    let plan = model.config_alone(console)?;
    let shape = training::shape_of(&plan, *sequence as usize, *training_rope)?;
    let forms: Vec<&'static str> =
        model.emit.as_ref().map_or_else(|| vec![PACKAGE_EXTENSION, LOOSE_EXTENSION], |emit| emit.0.clone());
    let output = &arguments.output;
    if fs::symlink_metadata(output).is_ok() {
        if !arguments.force || !is_ours(output) {
            return Err(Failure {
                message: format!("Cannot write `{}`: it exists", output.display()),
                hint: Some("`--force` replaces programs of a training step, and nothing else".to_owned()),
            });
        }
        fs::remove_dir_all(output).map_err(TrainingError::from)?;
    }
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(TrainingError::from)?;
    let work = tempfile::tempdir_in(parent).map_err(TrainingError::from)?;
    training::write(work.path(), &shape, *training_weights, &forms)?;
    fs::rename(work.keep(), output).map_err(TrainingError::from)?;
    for kind in Kind::ALL {
        let given = training::inputs(kind, &shape, *training_weights);
        let given: Vec<String> = given.iter().map(|input| format!("{} {:?}", input.name, input.shape)).collect();
        let channels = kind.output_channels(&shape);
        console.status(&format!("{kind}: {} -> [1, {channels}, 1, {}]", given.join(", "), shape.sequence));
    }
    console.status(&format!(
        "Wrote 6 programs to `{}`, which serve the {} layers of a step in {} calls",
        output.display(),
        shape.layers,
        6 * shape.layers
    ));
    Ok(ExitCode::SUCCESS)
}

/// Whether a directory holds programs of a training step and nothing else.
fn is_ours(output: &Path) -> bool {
    let Ok(entries) = fs::read_dir(output) else { return false };
    let known = |name: &str| {
        let extensions = [PACKAGE_EXTENSION, COMPILED_EXTENSION, LOOSE_EXTENSION];
        let programs = Kind::ALL.iter().flat_map(|kind| extensions.map(|extension| format!("{kind}.{extension}")));
        name == TRAINING_JSON || programs.into_iter().any(|program| program == name)
    };
    output.join(TRAINING_JSON).is_file()
        && entries.into_iter().all(|entry| entry.is_ok_and(|entry| known(&entry.file_name().to_string_lossy())))
}
