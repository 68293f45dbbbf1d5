//! Asking for weights by path, where they are used.
//!
//! Every request is noted in the weight file with the shape that the tensor must have, so that what a model needs of its
//! checkpoint follows from its programs.

use super::Graph;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::weights::rows::Rows;
use crate::weights::weight_file::WeightFile;

/// A weight of `[rows, columns]`.
pub(crate) fn matrix(
    plan: &DecoderPlan,
    weights: &mut WeightFile,
    path: &WeightPath,
    [rows, columns]: [u64; 2],
) -> Rows {
    let (found, tensor_rows) = find(plan, path, rows, columns);
    weights.requests.add_tensor(&found.tensor, &[tensor_rows, columns]);
    found
}

impl Graph<'_> {
    /// A weight of `[rows, columns]`.
    pub(crate) fn matrix(&mut self, path: &WeightPath, shape: [u64; 2]) -> Rows {
        matrix(self.plan(), self.weights, path, shape)
    }

    /// A weight of one axis.
    pub(crate) fn vector(&mut self, path: &WeightPath, elements: u64) -> Rows {
        let (found, tensor_elements) = find(self.plan(), path, elements, 1);
        self.weights.requests.add_tensor(&found.tensor, &[tensor_elements]);
        found
    }
}

/// The rows of a weight in its tensor, and how many rows the tensor has.
fn find(plan: &DecoderPlan, path: &WeightPath, rows: u64, columns: u64) -> (Rows, u64) {
    let source = plan.source(path);
    let (first, tensor_rows) =
        source.fused.map_or((0, rows), |fused| (fused.first_row as u64, fused.tensor_rows as u64));
    (Rows { transforms: source.transforms, ..Rows::new(source.tensor, first..first + rows, columns) }, tensor_rows)
}
