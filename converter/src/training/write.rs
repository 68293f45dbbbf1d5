//! Writes the programs of a training step, as packages, compiled models or texts, with a table of them.

use std::path::Path;

use anec_mil::package::PACKAGE_EXTENSION;
use anec_schemas::training::{TRAINING_JSON, TRAINING_VERSION, TrainingManifest, TrainingProgram, TrainingTensor};
use fs_err as fs;

use super::{Kind, Part, TrainingError, TrainingShape, WeightForm, inputs, model};
use crate::output::forms::{self, ModelFiles};

/// Bytes of an fp16 number.
const FP16_BYTES: usize = 2;

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
    fs::write(directory.join(TRAINING_JSON), manifest(shape, form).to_json()?)?;
    Ok(())
}

fn manifest(shape: &TrainingShape, form: WeightForm) -> TrainingManifest {
    let programs = Kind::ALL.into_iter().map(|kind| {
        let given = inputs(kind, shape, form).into_iter().map(|input| {
            let length = |part: &Part| if input.axis == 1 { part.rows } else { part.stored()[1] };
            TrainingTensor {
                name: input.name.to_owned(),
                shape: input.shape,
                bytes: input.count() * FP16_BYTES,
                parts: input.parts.iter().map(|part| (part.name.to_owned(), length(part))).collect(),
            }
        });
        let channels = kind.output_channels(shape);
        let parts = kind.outputs(shape).into_iter().map(|(name, channels)| (name.to_owned(), channels));
        let output = TrainingTensor {
            name: "out".to_owned(),
            shape: [1, channels, 1, shape.sequence],
            bytes: channels * shape.sequence * FP16_BYTES,
            parts: parts.collect(),
        };
        let (name, operations) = (kind.name().to_owned(), kind.operations(shape));
        TrainingProgram { name, inputs: given.collect(), output, operations }
    });
    TrainingManifest {
        version: TRAINING_VERSION,
        shape: shape.clone(),
        weights: if form == WeightForm::Packed { "packed" } else { "inputs" }.to_owned(),
        instances: shape.layers,
        programs: programs.collect(),
    }
}
