//! Rows of queries and keys in the order of transformers.

use std::ops::Range;

use crate::source::checkpoint::{Decode, DecodeError};

/// Bytes of an element.
const ELEMENT_BYTES: usize = 4;

/// fp32 rows whose heads have the channels that are rotated together beside each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    /// Rows of a head; even.
    pub(super) head: usize,
    /// Elements of a row.
    pub(super) columns: usize,
}

impl Halves {
    /// The row of the file that holds a row of transformers, which pairs `i` with `i + head / 2` where llama2.c pairs neighbours.
    fn stored_row(self, row: usize) -> usize {
        let (first, within) = (row - row % self.head, row % self.head);
        let half = self.head / 2;
        first + 2 * (within % half) + within / half
    }

    fn row_bytes(self) -> usize {
        self.columns * ELEMENT_BYTES
    }
}

impl Decode for Halves {
    fn span(&self, _part: usize, rows: &Range<usize>) -> Option<Range<usize>> {
        let (start, end) = (rows.start - rows.start % self.head, rows.end.next_multiple_of(self.head));
        Some(start * self.row_bytes()..end * self.row_bytes())
    }

    fn rows(&self, parts: &[&[u8]], rows: &Range<usize>, out: &mut Vec<f32>) -> Result<(), DecodeError> {
        out.clear();
        let bytes = parts.first().copied().unwrap_or_default();
        for row in rows.clone() {
            let start = self.stored_row(row) * self.row_bytes();
            let stored = bytes.get(start..start + self.row_bytes()).ok_or_else(|| DecodeError {
                expected: format!("a row of {} bytes", self.row_bytes()),
                found: "the end of the file".to_owned(),
            })?;
            out.extend(stored.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Ok(())
    }
}
