//! `provenance.json`: what every stored weight came from, for those who compare it with the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use anec_mil::compiled::{blob_file_name, blob_files};
use anec_mil::{Operation, Program};
use anec_schemas::provenance::{ModelProvenance, Provenance, ProvenanceError, Transform, WeightProvenance};

use crate::weights::transform::{self, Number};
use crate::weights::weight_file::{self, WeightFile};

/// The text of the file, from name, program and weight file of every model. `has_texts`: whether programs are there as texts.
///
/// # Errors
/// A number of a transform is not finite.
pub(crate) fn text<'a>(
    models: impl Iterator<Item = (&'a str, &'a Program, &'a WeightFile)>,
    has_texts: bool,
) -> Result<String, ProvenanceError> {
    let models = models.map(|(stem, program, weights)| (stem.to_owned(), model(program, weights, has_texts)));
    Provenance::new(models.collect::<BTreeMap<_, _>>()).to_json()
}

fn model(program: &Program, weights: &WeightFile, has_texts: bool) -> ModelProvenance {
    // A weight file that context lengths share may hold tables that the shorter ones do not need.
    let operations = program.functions.values().flat_map(|function| &function.block.operations);
    let values = operations.flat_map(Operation::values).filter_map(|(_, value)| value.as_blob());
    let used: BTreeSet<u64> = values.map(|blob| blob.offset).collect();
    // Models that share a weight file need not all have functions that use all of it.
    let is_used = |weight: &weight_file::Provenance<'_>| weight.blobs.iter().any(|offset| used.contains(offset));
    let tables = weights.tables().filter(|(_, offset)| used.contains(offset));
    let files = if has_texts { blob_files(program) } else { BTreeMap::new() };
    let files = files.into_iter().map(|(reference, path)| (blob_file_name(&path), reference.offset));
    ModelProvenance {
        files: files.collect(),
        weights: weights.provenance().filter(is_used).map(|weight| of_weight(&weight)).collect(),
        tables: tables.map(|(name, offset)| (name.to_owned(), offset)).collect(),
    }
}

fn of_weight(weight: &weight_file::Provenance<'_>) -> WeightProvenance {
    WeightProvenance {
        tensor: weight.tensor.to_owned(),
        transforms: weight.transforms.iter().map(step).collect(),
        rows: [weight.rows.start, weight.rows.end],
        columns: [weight.columns.start, weight.columns.end],
        encoding: weight.storage.to_string(),
        blobs: weight.blobs.to_vec(),
    }
}

fn step(step: &transform::Transform) -> Transform {
    use transform::Transform as Step;
    match step {
        Step::Add(Number(term)) => Transform::Add(*term),
        Step::Scale(Number(factor)) => Transform::Scale(*factor),
        Step::PermuteRows(order) => Transform::PermuteRows(order.to_vec()),
        Step::PadRows { from, to } => Transform::PadRows { from: *from, to: *to },
        Step::PadColumns { to } => Transform::PadColumns(*to),
    }
}
