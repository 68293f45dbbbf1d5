//! What the models of a directory hold: sizes, bits, and what their activations became.

use std::collections::BTreeMap;
use std::path::Path;

use anec_mil::DataType;
use anec_mil::difference::{self, Difference};
use anec_mil::evaluate::Statistics;
use anec_mil::ops::special;
use anec_mil::stored::Form;
use anec_schemas::report::{Activation, Activations, PartSize};

use super::VerifyError;
use super::weights::stored_dtype;
use crate::backend::{Backend as _, ReferenceBackend};
use crate::causes::with_causes;
use crate::directory::ModelDirectory;
use crate::part::{ModelPart, PartError};
use crate::session::SessionError;

/// Differences of the forms of a model that are listed.
const DIFFERENCES: usize = 5;

/// Operations that are listed with their largest magnitudes.
const LISTED: usize = 20;

/// Bits of the narrowest index or integer that weights are stored as; 0 where none is.
///
/// # Errors
/// A model cannot be read.
pub fn stored_bits(directory: &ModelDirectory) -> Result<u32, VerifyError> {
    let backend = ReferenceBackend::default();
    let mut narrowest: Option<u32> = None;
    for part in directory.parts() {
        let model = backend.open(part).map_err(SessionError::from)?;
        let operations = model.program().functions.values().flat_map(|function| &function.block.operations);
        let compressed = operations.filter(|operation| operation.op.starts_with(special::CONSTEXPR_PREFIX));
        let dtypes = compressed.filter_map(stored_dtype).filter(|dtype| !dtype.is_float());
        narrowest = narrowest.into_iter().chain(dtypes.map(DataType::bits)).min();
    }
    Ok(narrowest.unwrap_or(0))
}

/// What became of activations, from what an engine recorded by model and function.
pub fn activations(seen: &BTreeMap<(String, String), Statistics>) -> Activations {
    let mut activations = Activations::default();
    for ((part, function), statistics) in seen {
        activations.overflows += statistics.overflows();
        activations.nans += statistics.nans();
        activations.largest.extend(statistics.steps.iter().map(|(step, seen)| Activation {
            part: part.clone(),
            function: function.clone(),
            op: step.op.clone(),
            name: step.result.clone(),
            magnitude: f64::from(seen.largest),
            overflows: seen.overflows,
        }));
    }
    activations.largest.sort_by(|a, b| b.magnitude.total_cmp(&a.magnitude));
    activations.largest.truncate(LISTED);
    activations
}

/// Bytes of every model, and whether its forms are the same.
///
/// # Errors
/// A file cannot be looked at.
pub fn part_sizes(directory: &ModelDirectory) -> Result<Vec<PartSize>, PartError> {
    let size = |part: &ModelPart| {
        let path = part.any_path().unwrap_or(directory.root());
        let bytes = bytes_below(path).map_err(|source| PartError::Io { path: path.to_owned(), source })?;
        let differences = differences(part);
        Ok(PartSize { part: part.stem.clone(), role: part.label.to_string(), bytes, differences })
    };
    directory.parts().iter().map(size).collect()
}

/// The first differences of both forms of a model, of which one was run and apps may load the other.
fn differences(part: &ModelPart) -> Option<Vec<String>> {
    if part.package.is_none() || part.compiled.is_none() {
        return None;
    }
    let open = |form| part.open_as(form).map_err(|error| with_causes(&error));
    let compared = open(Form::Package).and_then(|package| {
        difference::compare(&package, &open(Form::Compiled)?, DIFFERENCES).map_err(|error| with_causes(&error))
    });
    let line = |difference: &Difference| format!("{}: {} / {}", difference.place, difference.left, difference.right);
    Some(compared.map_or_else(|error| vec![error], |found| found.iter().map(line).collect()))
}

fn bytes_below(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(path) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
