//! How weights are calibrated.

use std::collections::BTreeMap;

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
    /// What is added to the diagonal of a Gram matrix before errors are fed back, as a part of its mean.
    pub damping: f64,
    /// The same, where targets are solved for.
    pub target_damping: f64,
    /// How often palettes are fitted to the targets that were assigned to them, and weights assigned anew.
    pub refits: usize,
}

impl Default for Strength {
    fn default() -> Self {
        Self { inputs: 0.5, residual: 0.5, damping: 0.01, target_damping: 0.05, refits: 1 }
    }
}

/// What is calibrated, by the name of the tensor; all others are used as they are.
pub type Palettes = BTreeMap<String, PaletteShape>;
