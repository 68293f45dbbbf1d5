//! What the models of a directory hold: sizes, weights, and what their activations became.

use std::collections::BTreeMap;
use std::path::Path;

use anec_mil::difference::{self, Difference};
use anec_mil::evaluate::Statistics;
use anec_mil::ops::special;
use anec_mil::package::Form;
use anec_mil::{Binding, DataType, Operation, Program};
use anec_schemas::report::{Activation, Activations, PartSize, TableQuality, WeightQuality};
use fs_err as fs;

use super::weights::{table_quality, weight_quality};
use super::{Progress, VerifyError};
use crate::backend::{Backend, Model, ReferenceBackend};
use crate::directory::ModelDirectory;
use crate::oracle::{Checkpoint, OracleConfig};
use crate::part::{ModelPart, PartError};
use crate::session::SessionError;

/// Differences of the forms of a model that are listed.
const DIFFERENCES: usize = 5;

/// Operations that are listed with their largest magnitudes.
const LISTED: usize = 20;

/// The quality of every stored weight and RoPE table, by layer and name.
///
/// # Errors
/// A model cannot be read.
pub fn stored_weights(
    directory: &ModelDirectory,
    checkpoint: &Checkpoint,
    config: &OracleConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<WeightQuality>, Vec<TableQuality>), VerifyError> {
    let backend = ReferenceBackend::default();
    let (mut weights, mut tables) = (Vec::new(), Vec::new());
    for (index, part) in directory.parts().iter().enumerate() {
        progress(Progress::Weights(index + 1, directory.parts().len()));
        let model = backend.open(part).map_err(SessionError::from)?;
        let encodings = encodings(model.program());
        let scales = row_scales(model.program());
        let mut constants = BTreeMap::new();
        for name in model.function_names() {
            let function = model.load(&name).map_err(SessionError::from)?;
            for (name, constant) in function.constants() {
                constants.entry(name.to_owned()).or_insert_with(|| constant.clone());
            }
        }
        for (name, constant) in &constants {
            let encoding = encodings.get(name).map_or("", String::as_str);
            let scale = scales.get(name.as_str()).and_then(|scale| constants.get(*scale));
            weights.extend(weight_quality(&part.stem, name, constant, scale, encoding, checkpoint)?);
            tables.extend(table_quality(&part.stem, name, constant, config));
        }
    }
    weights.sort_by(|a, b| (a.layer, &a.part, &a.name).cmp(&(b.layer, &b.part, &b.name)));
    Ok((weights, tables))
}

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

/// The narrowest element type that each constant is stored in.
fn encodings(program: &Program) -> BTreeMap<String, String> {
    let operations = program.functions.values().flat_map(|function| &function.block.operations);
    let constants = operations.filter(|operation| special::yields_constant(&operation.op));
    let encoding =
        |operation: &Operation| Some((operation.outputs.first()?.name.clone(), stored_dtype(operation)?.to_string()));
    constants.filter_map(encoding).collect()
}

/// The narrowest element type among the tensors that an operation holds.
fn stored_dtype(operation: &Operation) -> Option<DataType> {
    let inputs = operation.inputs.values().flat_map(|argument| &argument.0);
    let in_place = inputs.filter_map(|binding| match binding {
        Binding::Value(value) => Some(value),
        Binding::Name(_) => None,
    });
    let values = operation.attributes.values().chain(in_place);
    let types = values.filter_map(|value| value.tensor_type()).filter(|ty| ty.rank() > 0);
    types.map(|ty| ty.dtype).min_by_key(|dtype| dtype.bits())
}

/// Of weights of convolutions whose result is multiplied by something, what that is, by the names of both.
fn row_scales(program: &Program) -> BTreeMap<&str, &str> {
    fn input<'a>(operation: &'a Operation, parameter: &str) -> Option<&'a str> {
        match operation.inputs.get(parameter)?.0.first()? {
            Binding::Name(name) => Some(name),
            Binding::Value(_) => None,
        }
    }
    let mut scales = BTreeMap::new();
    for function in program.functions.values() {
        let mut weights = BTreeMap::new();
        for operation in &function.block.operations {
            let inputs = |a: &str, b: &str| input(operation, a).zip(input(operation, b));
            match (operation.op.as_str(), operation.outputs.first()) {
                ("conv", Some(result)) => {
                    weights.extend(input(operation, "weight").map(|weight| (result.name.as_str(), weight)));
                }
                ("mul", _) => {
                    let pair = inputs("x", "y").into_iter().flat_map(|(x, y)| [(x, y), (y, x)]);
                    scales.extend(pair.filter_map(|(product, scale)| Some((*weights.get(product)?, scale))));
                }
                _ => {}
            }
        }
    }
    scales
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
    let open = |form| part.open_as(form).map_err(|error| chain(&error));
    let compared = open(Form::Package).and_then(|package| {
        difference::compare(&package, &open(Form::Compiled)?, DIFFERENCES).map_err(|error| chain(&error))
    });
    let line = |difference: &Difference| format!("{}: {} / {}", difference.place, difference.left, difference.right);
    Some(compared.map_or_else(|error| vec![error], |found| found.iter().map(line).collect()))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn bytes_below(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
