//! What the graphs of a weight file asked for, beside what is stored: what is known about a model is read off this.

use std::collections::BTreeMap;

/// Requests, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    tensors: BTreeMap<String, Vec<u64>>,
    matrices: Vec<Matrix>,
}

/// A matrix that a graph multiplies by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// What it is called in every layer.
    pub(crate) label: String,
    /// Its output channels.
    pub(crate) rows: u64,
    /// Its input channels.
    pub(crate) columns: u64,
    /// Bits of a weight, where it is not plain.
    pub(crate) bits: Option<u8>,
    /// Input channels of each part that it is split into.
    pub(crate) parts: Vec<u64>,
}

impl Requests {
    /// Notes a tensor of the checkpoint with the shape that it must have.
    pub(crate) fn add_tensor(&mut self, name: &str, shape: &[u64]) {
        let known = self.tensors.entry(name.to_owned()).or_insert_with(|| shape.to_vec());
        assert_eq!(known, shape, "graphs ask for `{name}` in one shape");
    }

    /// Notes a matrix.
    pub(crate) fn add_matrix(&mut self, matrix: Matrix) {
        if !self.matrices.contains(&matrix) {
            self.matrices.push(matrix);
        }
    }

    /// Tensors of the checkpoint with their shapes, sorted by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &[u64])> {
        self.tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// Matrices of each label and shape, in the order of use.
    pub(crate) fn matrices(&self) -> &[Matrix] {
        &self.matrices
    }
}
