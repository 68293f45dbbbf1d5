//! A checkpoint as the oracle takes it: the forward pass that conversions are compared with.
//!
//! Directories of plain safetensors are read by the oracle itself, with none of the code here. What is packed, renamed or
//! in another order is decoded by the same code for the conversion and for the oracle; that this code is right is held
//! against the decoders of others, in tests/conformance.

use std::collections::BTreeMap;

use anec_runtime::oracle::{self, OracleConfig, OracleError};
use candle_core::{Device, Tensor};
use serde_json::Value;

use super::checkpoint::{Checkpoint, CheckpointError};
use crate::error::Hint;

/// A checkpoint that the oracle cannot take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OracleSourceError {
    /// Its files.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its config, or what the oracle reads itself.
    #[error(transparent)]
    Oracle(#[from] OracleError),
}

impl Hint for OracleSourceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Oracle(error) => error.hint(),
        }
    }
}

/// The config and the tensors of a checkpoint, for the oracle. What is decoded is in fp32, four bytes a parameter.
///
/// # Errors
/// The config is not understood, or a tensor cannot be read.
pub(crate) fn open_for_oracle(
    checkpoint: &Checkpoint,
) -> Result<(OracleConfig, oracle::Checkpoint), OracleSourceError> {
    let config = OracleConfig::from_json(&Value::Object(checkpoint.config_json().clone()))?;
    if checkpoint.is_plain() {
        return Ok((config, oracle::Checkpoint::open(checkpoint.path())?));
    }
    let mut tensors = BTreeMap::new();
    // What cannot be converted is of no use to a forward pass either, such as saved position numbers.
    for name in checkpoint.tensor_names().filter(|name| checkpoint.check_usable(name).is_ok()) {
        let Some(info) = checkpoint.tensor(name) else { continue };
        let mut elements = Vec::new();
        checkpoint.rows_f32(name, 0..info.shape.first().copied().unwrap_or(1), &mut elements)?;
        checkpoint.release(name);
        let tensor = Tensor::from_vec(elements, info.shape, &Device::Cpu).map_err(OracleError::from)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok((config, oracle::Checkpoint::from_tensors(tensors)))
}
