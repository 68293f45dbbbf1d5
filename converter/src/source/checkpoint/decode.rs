//! Tensors whose elements are not stored as they are: packed, scaled, split over several tensors of the file, in another
//! order.

use std::fmt;
use std::ops::Range;

/// How the elements of a tensor come from what its file stores.
///
/// A tensor may be made of several parts, such as packed integers with their scales. Rows are decoded where they are
/// asked for, so that no tensor is ever in memory as a whole.
pub(in crate::source) trait Decode: fmt::Debug + Send + Sync {
    /// Bytes of a part that are touched when these rows are decoded; none where that is all of it.
    fn span(&self, part: usize, rows: &Range<usize>) -> Option<Range<usize>>;

    /// Replaces the content of `out` by rows, row-major.
    ///
    /// `parts` has the bytes of every part, as many as its shape says, and `rows` are within the tensor's shape.
    ///
    /// # Errors
    /// What is stored makes no sense, such as an index beyond the end of what it is an index of.
    fn rows(&self, parts: &[&[u8]], rows: &Range<usize>, out: &mut Vec<f32>) -> Result<(), DecodeError>;
}

/// Stored numbers that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct DecodeError {
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}
