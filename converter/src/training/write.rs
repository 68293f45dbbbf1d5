//! Writes the programs of a training step, as packages, compiled models or texts, with a table of them.

use std::path::Path;

use anec_mil::package::PACKAGE_EXTENSION;
use fs_err as fs;
use serde::Serialize;

use super::{Kind, TrainingError, TrainingShape, WeightForm, inputs, model};
use crate::output::forms::{self, ModelFiles};

/// Name of the table of the programs within their directory.
pub const PROGRAMS_JSON: &str = "training.json";

/// Version of the table.
const VERSION: u32 = 1;

/// Bytes of an fp16 number.
const FP16_BYTES: usize = 2;

#[derive(Serialize)]
struct Table<'a> {
    version: u32,
    dim: usize,
    hidden: usize,
    heads: usize,
    layers: usize,
    sequence: usize,
    vocabulary: usize,
    norm_eps: f64,
    rope_theta: Option<f64>,
    weights: &'static str,
    /// Calls of a step that each program serves: one a layer.
    instances: usize,
    programs: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    inputs: Vec<Tensor<'a>>,
    output: Tensor<'a>,
    /// Multiplications and additions of the products.
    operations: u64,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    shape: [usize; 4],
    bytes: usize,
    /// What it holds, in order along the axis, with the length of each there.
    parts: Vec<(&'a str, usize)>,
}

/// Writes every program in these forms into a directory, which is made.
///
/// # Errors
/// A form that there is not, a bug in the graphs, or the disk.
pub fn write(
    directory: &Path,
    shape: &TrainingShape,
    form: WeightForm,
    names: &[&'static str],
) -> Result<(), TrainingError> {
    fs::create_dir_all(directory)?;
    for kind in Kind::ALL {
        let files = ModelFiles::new(kind.name(), model(kind, shape, form)?)?;
        for name in names {
            let path = directory.join(format!("{kind}.{name}"));
            let written = forms::find(name).ok_or_else(|| TrainingError::Config {
                key: "--emit",
                expected: "a form that there is".to_owned(),
                found: (*name).to_owned(),
            })?;
            if *name == PACKAGE_EXTENSION {
                // There are no weights, which the form of a converted model has.
                forms::package::write(&path, &files.model, &std::collections::BTreeSet::new())?;
            } else {
                written.write(&path, &files)?;
            }
            written.read_back(&path)?;
        }
    }
    let mut text = serde_json::to_string_pretty(&table(shape, form))?;
    text.push('\n');
    fs::write(directory.join(PROGRAMS_JSON), text)?;
    Ok(())
}

fn table(shape: &TrainingShape, form: WeightForm) -> Table<'static> {
    let programs = Kind::ALL.into_iter().map(|kind| {
        let given = inputs(kind, shape, form).into_iter().map(|input| Tensor {
            name: input.name,
            shape: input.shape,
            bytes: input.count() * FP16_BYTES,
            parts: input
                .parts
                .iter()
                .map(|part| (part.name, if input.axis == 1 { part.rows } else { part.stored()[1] }))
                .collect(),
        });
        let channels = kind.output_channels(shape);
        let output = Tensor {
            name: "out",
            shape: [1, channels, 1, shape.sequence],
            bytes: channels * shape.sequence * FP16_BYTES,
            parts: kind.outputs(shape),
        };
        Row { name: kind.name(), inputs: given.collect(), output, operations: kind.operations(shape) }
    });
    Table {
        version: VERSION,
        dim: shape.dim,
        hidden: shape.hidden,
        heads: shape.heads,
        layers: shape.layers,
        sequence: shape.sequence,
        vocabulary: shape.vocabulary,
        norm_eps: shape.norm_eps,
        rope_theta: shape.rope_theta,
        weights: if form == WeightForm::Packed { "packed" } else { "inputs" },
        instances: shape.layers,
        programs: programs.collect(),
    }
}
