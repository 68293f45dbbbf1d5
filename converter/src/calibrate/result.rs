//! What calibration found for a tensor.

use anec_quantize::compensate::GroupPalettes;

use super::settings::TensorRows;

/// Palettes and indices of a tensor, `[rows, columns]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibratedTensor {
    /// Which rows of which tensor.
    pub rows: TensorRows,
    /// Inputs.
    pub columns: usize,
    /// Palettes, from the first row on.
    pub palettes: GroupPalettes,
    /// One index per weight, row-major.
    pub indices: Vec<u8>,
}

impl CalibratedTensor {
    /// The weights that are stored, `[rows, columns]`.
    pub fn weights(&self) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.indices.len());
        for (row, indices) in self.indices.chunks_exact(self.columns.max(1)).enumerate() {
            let entries: Vec<f32> = self.palettes.of_row(row).iter().map(|entry| entry.to_f32()).collect();
            weights.extend(indices.iter().map(|index| entries.get(usize::from(*index)).copied().unwrap_or_default()));
        }
        weights
    }
}
