//! Stored weights against those of a checkpoint.
//!
//! What a weight came from stands in `provenance.json`. Nothing is guessed then, and what has no counterpart, stored or
//! noted, is a finding. Directories without the file are matched by name, as far as names go, and the report says so.

mod by_name;
mod by_provenance;
mod constants;
mod quality;
mod transform;

use anec_schemas::provenance::{PROVENANCE_JSON, Provenance};
use anec_schemas::report::{MatchedBy, Origins, TableQuality, WeightQuality};

use super::{Progress, VerifyError};
use crate::companion;
use crate::directory::ModelDirectory;
use crate::oracle::{Checkpoint, OracleConfig};
pub(super) use by_provenance::CALIBRATED_QUALITY;
pub(super) use constants::stored_dtype;

use constants::Constants;

/// Largest provenance that is read, in bytes; a weight takes about 300.
const MAX_PROVENANCE_BYTES: u64 = 1 << 26;

/// What the stored weights of a directory are.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWeights {
    /// Every weight that was compared, by layer and name.
    pub weights: Vec<WeightQuality>,
    /// RoPE tables.
    pub tables: Vec<TableQuality>,
    /// How they were matched, and what was not.
    pub origins: Origins,
}

/// What a model is compared with.
struct Source<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a OracleConfig,
}

/// Compares every stored weight and RoPE table with the checkpoint.
///
/// # Errors
/// A model or the provenance cannot be read.
pub fn stored_weights(
    directory: &ModelDirectory,
    checkpoint: &Checkpoint,
    config: &OracleConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<StoredWeights, VerifyError> {
    let provenance = match companion::read(directory.root(), PROVENANCE_JSON, MAX_PROVENANCE_BYTES)? {
        Some(text) => Some(Provenance::from_json(&text)?),
        None => None,
    };
    let matched_by = if provenance.is_some() { MatchedBy::Provenance } else { MatchedBy::Names };
    let origins = Origins { matched_by, findings: Vec::new() };
    let mut found = StoredWeights { weights: Vec::new(), tables: Vec::new(), origins };
    let source = Source { checkpoint, config };
    for (index, part) in directory.parts().iter().enumerate() {
        progress(Progress::Weights(index + 1, directory.parts().len()));
        let model = provenance.as_ref().and_then(|provenance| provenance.models.get(&part.stem).cloned());
        let model = model.unwrap_or_default();
        let constants = Constants::of(part, &model)?;
        match &provenance {
            None => by_name::compare(&part.stem, &constants, &source, &mut found)?,
            Some(_) => by_provenance::compare(&part.stem, &constants, &model, &source, &mut found)?,
        }
    }
    let is_there = |stem: &str| directory.parts().iter().any(|part| part.stem == stem);
    for stem in provenance.iter().flat_map(|provenance| provenance.models.keys()).filter(|stem| !is_there(stem)) {
        found.origins.findings.push(format!("{stem}: the model is not there"));
    }
    found.weights.sort_by(|a, b| (a.layer, &a.part, &a.name).cmp(&(b.layer, &b.part, &b.name)));
    Ok(found)
}

/// The number of the decoder layer that a tensor of a checkpoint belongs to.
fn layer_of(tensor: &str) -> Option<u64> {
    let (_, rest) = tensor.split_once("layers.")?;
    rest.split('.').next()?.parse().ok()
}
