//! Which part of which tensor a stored weight is.

use std::ops::Range;

use super::transform::Transform;

/// Rows of a tensor of the checkpoint, output channels of a projection or tokens of an embedding, whole or cut to some
/// of their columns. Where the tensor is transformed, rows and columns are those of the result.
#[expect(clippy::struct_field_names, reason = "rows of a tensor are its rows")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The tensor's name in the checkpoint.
    pub(crate) tensor: String,
    /// Which rows.
    pub(crate) rows: Range<u64>,
    /// The first column that is taken.
    pub(crate) first_column: u64,
    /// Columns that are taken.
    pub(crate) columns: u64,
    /// What becomes of the tensor before it is stored, in this order.
    pub(crate) transforms: Vec<Transform>,
}

impl Rows {
    /// Whole rows, each of `columns`, of a tensor as it is.
    pub(crate) fn new(tensor: impl Into<String>, rows: Range<u64>, columns: u64) -> Self {
        Self { tensor: tensor.into(), rows, first_column: 0, columns, transforms: Vec::new() }
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    /// How many elements there are.
    pub(crate) fn elements(&self) -> u64 {
        self.count().saturating_mul(self.columns)
    }

    /// The given of these rows, counted from the first of them.
    pub(crate) fn with_rows(&self, rows: &Range<u64>) -> Self {
        let first = self.rows.start;
        Self { rows: first + rows.start..first + rows.end, ..self.clone() }
    }

    /// The given columns of these rows, counted from the first of them.
    pub(crate) fn with_columns(&self, columns: &Range<u64>) -> Self {
        let first_column = self.first_column + columns.start;
        Self { first_column, columns: columns.end - columns.start, ..self.clone() }
    }
}
