//! How weights are calibrated.

use std::collections::BTreeMap;

use crate::weights::rows::Rows;

/// Palettes for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PaletteShape {
    /// Bits of an index.
    pub bits: u8,
    /// Output channels that share a palette, from the first one on.
    pub group_rows: usize,
}

/// How strongly errors of earlier layers are answered, and what steadies the answers.
///
/// The defaults are what served best on real models; see docs/quantization.md.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Strength {
    /// How far targets move to what the checkpoint's own inputs would have given: 0 not at all, 1 all the way.
    pub inputs: f64,
    /// How far projections that write to the residual stream make up for its error.
    pub residual: f64,
    /// How far the head moves to what the checkpoint's own last states would have given.
    pub head: f64,
    /// How little tokens with a large residual stream count where something is added to it: the power of its mean square.
    pub stream: f64,
    /// What is added to the diagonal of a Gram matrix before errors are fed back, as a part of its mean.
    pub damping: f64,
    /// The same, where targets are solved for.
    pub target_damping: f64,
    /// How often palettes are fitted to the targets that were assigned to them, and weights assigned anew.
    pub refits: usize,
}

impl Default for Strength {
    fn default() -> Self {
        Self { inputs: 0.5, residual: 0.3, head: 0.7, stream: 0.5, damping: 0.01, target_damping: 0.05, refits: 1 }
    }
}

/// A weight: rows of a tensor of the checkpoint, all of it or a part that is used as a projection of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorRows {
    /// The tensor's name.
    pub tensor: String,
    /// Which rows.
    pub first: u64,
    /// The row after the last.
    pub end: u64,
}

impl TensorRows {
    pub(crate) fn of(rows: &Rows) -> Self {
        Self { tensor: rows.tensor.clone(), first: rows.rows.start, end: rows.rows.end }
    }
}

/// What is calibrated; all other weights are used as they are.
pub type Palettes = BTreeMap<TensorRows, PaletteShape>;
