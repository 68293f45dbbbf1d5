//! Weights that are known by where their blobs are.

use std::collections::BTreeSet;

use anec_schemas::provenance::{ModelProvenance, ROPE_COS, ROPE_SIN, WeightProvenance};
use anec_schemas::report::WeightQuality;

use super::constants::Constants;
use super::quality::{self, Compared};
use super::transform::{self, Matrix};
use super::{Source, StoredWeights};
use crate::oracle::{Checkpoint, OracleError};

/// What encodings of weights end in whose palettes and indices were calibrated.
const CALIBRATED: &str = "+calibrated";

/// What the report adds to their element type.
pub(in crate::verify) const CALIBRATED_QUALITY: &str = ", calibrated";

/// Compares what a model stores with what its provenance says.
pub(super) fn compare(
    part: &str,
    constants: &Constants,
    model: &ModelProvenance,
    source: &Source<'_>,
    found: &mut StoredWeights,
) -> Result<(), OracleError> {
    let findings = &mut found.origins.findings;
    let known = model.blobs();
    if known.len() != model.tables.len() + model.weights.iter().map(|weight| weight.blobs.len()).sum::<usize>() {
        findings.push(format!("{part}: two weights are said to be in one blob"));
    }
    for (name, constant) in &constants.0 {
        for blob in constant.blobs.iter().filter(|blob| !known.contains(blob)) {
            findings.push(format!("{part}: where `{name}` came from is not known (blob at {blob})"));
        }
    }
    let stored: BTreeSet<u64> = constants.0.values().flat_map(|constant| &constant.blobs).copied().collect();
    for weight in &model.weights {
        let tensor = &weight.tensor;
        if let Some(blob) = weight.blobs.iter().find(|blob| !stored.contains(blob)) {
            findings.push(format!("{part}: no program has what `{tensor}` became (blob at {blob})"));
            continue;
        }
        match compare_weight(part, constants, weight, source.checkpoint)? {
            Ok(quality) => found.weights.push(quality),
            Err(problem) => findings.push(format!("{part}: `{tensor}` {problem}")),
        }
    }
    for (table, blob) in &model.tables {
        let function: fn(f64) -> f64 = match table.as_str() {
            ROPE_COS => f64::cos,
            ROPE_SIN => f64::sin,
            _ if stored.contains(blob) => continue,
            _ => |angle| angle,
        };
        let table_quality = constants
            .holding(*blob)
            .and_then(|(name, constant)| quality::table(part, name, constant, function, source.config));
        match table_quality {
            Some(quality) => found.tables.push(quality),
            None => findings.push(format!("{part}: no program has the table `{table}` (blob at {blob})")),
        }
    }
    Ok(())
}

/// The quality of a weight whose blobs are all there, or what is wrong with what is said about it.
fn compare_weight(
    part: &str,
    constants: &Constants,
    weight: &WeightProvenance,
    checkpoint: &Checkpoint,
) -> Result<Result<WeightQuality, String>, OracleError> {
    let Some((name, constant)) = weight.blobs.first().and_then(|blob| constants.holding(*blob)) else {
        return Ok(Err("has no blob".to_owned()));
    };
    let wanted = match wanted(weight, checkpoint)? {
        Ok(wanted) => wanted,
        Err(problem) => return Ok(Err(problem)),
    };
    let Ok(stored) = constant.tensor.as_floats() else { return Ok(Err(format!("is stored in `{name}`, no floats"))) };
    let wanted_rows = wanted.elements.len() / wanted.columns.max(1);
    // Palettes fill their last group up with rows that the program drops.
    let is_filled_up = constant.encoding.starts_with("uint") && constant.tensor.shape().first() > Some(&wanted_rows);
    let stored = if is_filled_up { stored.get(..wanted.elements.len()).unwrap_or(&stored) } else { &stored };
    if stored.len() != wanted.elements.len() {
        let (found, expected) = (stored.len(), wanted.elements.len());
        return Ok(Err(format!("is stored in `{name}` with {found} elements, expected {expected}")));
    }
    let mut factors = weight.blobs.iter().filter(|blob| !constant.blobs.contains(blob));
    let scaled;
    let stored: &[f32] = match (factors.next(), factors.next()) {
        (None, _) => stored,
        (Some(blob), None) => {
            let factors = constants.holding(*blob).and_then(|(_, constant)| constant.tensor.as_floats().ok());
            let rows = stored.len() / wanted.columns.max(1);
            let Some(factors) = factors.filter(|factors| factors.len() == rows) else {
                return Ok(Err(format!("has no factor for each row in the blob at {blob}")));
            };
            scaled = quality::scaled(stored, wanted.columns, &factors);
            &scaled
        }
        (Some(_), Some(blob)) => return Ok(Err(format!("is spread over too many constants (blob at {blob})"))),
    };
    let (tensor, encoding, columns) = (weight.tensor.as_str(), constant.encoding.as_str(), wanted.columns);
    let compared = Compared { part, name, tensor, encoding, columns, stored };
    let mut quality = compared.with(|row| wanted.elements.get(row * columns..(row + 1) * columns).unwrap_or_default());
    if weight.encoding.ends_with(CALIBRATED) {
        // Its entries make up for the errors of others: they are not meant to be the nearest, nor near on average.
        (quality.misassigned, quality.misassigned_in_row) = (0, 0);
        quality.encoding.push_str(CALIBRATED_QUALITY);
    }
    Ok(Ok(quality))
}

/// The elements that a weight should have, or why they are not known.
fn wanted(weight: &WeightProvenance, checkpoint: &Checkpoint) -> Result<Result<Matrix, String>, OracleError> {
    let Some(shape) = checkpoint.shape(&weight.tensor) else { return Ok(Err("is not in the checkpoint".to_owned())) };
    let columns = shape.iter().skip(1).product();
    let [Some(rows), Some(taken)] = [weight.rows, weight.columns].map(range) else {
        return Ok(Err("has no rows or columns".to_owned()));
    };
    let outside = || format!("has the shape {shape:?}, which rows {rows:?} of columns {taken:?} are outside of");
    let (matrix, first) = if weight.transforms.is_empty() {
        if rows.end > shape.first().copied().unwrap_or(1) {
            return Ok(Err(outside()));
        }
        // The rows alone: a head is stored in many parts.
        (Some(Matrix { columns, elements: checkpoint.rows(&weight.tensor, rows.clone())? }), rows.start)
    } else {
        let whole = Matrix { columns, elements: checkpoint.floats(&weight.tensor)? };
        (weight.transforms.iter().try_fold(whole, transform::apply), 0)
    };
    let Some(Matrix { columns, elements }) = matrix else {
        return Ok(Err(format!("does not fit what is said to have become of it: {:?}", weight.transforms)));
    };
    let mut cut = Vec::with_capacity(rows.len().saturating_mul(taken.len()).min(elements.len()));
    for row in rows.clone() {
        let start = (row - first).saturating_mul(columns);
        let part = start.checked_add(taken.start).zip(start.checked_add(taken.end));
        let part = part.filter(|_| taken.end <= columns).and_then(|(start, end)| elements.get(start..end));
        let Some(part) = part else { return Ok(Err(outside())) };
        cut.extend_from_slice(part);
    }
    Ok(Ok(Matrix { columns: taken.len(), elements: cut }))
}

/// A range that is not empty.
fn range([start, end]: [u64; 2]) -> Option<std::ops::Range<usize>> {
    let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    (!range.is_empty()).then_some(range)
}
