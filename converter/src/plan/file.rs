//! One file of a conversion.

use anec_mil::{Program, passes};
use anec_schemas::contract::Instance;

use super::PlanError;
use crate::graph::families::{Label, Piece, Reads};
use crate::weights::weight_file::WeightFile;

/// One file: a program over a weight file.
pub struct FilePlan {
    /// File name without extension.
    pub stem: String,
    /// What it holds.
    pub label: Label,
    /// Bytes of its weight file.
    pub weight_bytes: u64,
    pub(crate) program: Program,
    pub(crate) weights: WeightFile,
    /// What its calls read of its weights.
    pub(crate) reads: Reads,
    /// Sizes and variants by which the contract describes it.
    pub(crate) instance: Instance,
}

impl FilePlan {
    /// The file of a piece, its program after all passes.
    pub(crate) fn new(stem: String, piece: Piece, reads: Reads, instance: Instance) -> Result<Self, PlanError> {
        let Piece { label, mut program, weights } = piece;
        passes::run_all(&mut program, true).map_err(|source| PlanError::Pass { stem: stem.clone(), source })?;
        Ok(Self { stem, label, weight_bytes: weights.size(), program, weights, reads, instance })
    }

    /// Bytes of its weights that come from the checkpoint, tables not counted.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.weights.checkpoint_bytes()
    }

    /// Bytes of those of which calls read all, and not single rows.
    pub fn read_bytes(&self) -> u64 {
        self.weights.read_bytes()
    }

    /// Its program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Names of its functions, sorted.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.program.functions.keys().map(String::as_str)
    }

    /// Operations in all functions, constants included.
    pub fn operation_count(&self) -> usize {
        self.program.functions.values().map(|function| function.block.operations.len()).sum()
    }
}
