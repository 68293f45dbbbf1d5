//! Tensors of a checkpoint: their shapes, and where their elements come from.

use std::ops::Range;
use std::path::Path;

use super::decode::Decode;
use super::shard::Entry;
use super::{CheckpointError, SourceDtype};

/// A tensor as a model asks for it.
#[derive(Debug)]
pub(in crate::source) struct Tensor {
    /// The file of its first part.
    pub(super) shard: usize,
    pub(super) content: Content,
}

/// Where the elements of a tensor are.
#[derive(Debug)]
pub(super) enum Content {
    /// They are floats of 16 or 32 bits in row-major order; or of a type that cannot be converted, which is an error
    /// where the tensor is used.
    Plain(Entry),
    /// They are computed.
    Decoded { shape: Vec<usize>, parts: Vec<Part>, decoder: Box<dyn Decode> },
}

/// A tensor of the file that elements are computed from.
#[derive(Clone, Debug)]
pub(in crate::source) struct Part {
    /// Index of the file.
    pub(in crate::source) shard: usize,
    /// Its bytes in the file.
    pub(in crate::source) bytes: Range<usize>,
}

impl Tensor {
    /// A tensor that is stored as it is.
    pub(in crate::source) fn plain(shard: usize, entry: Entry) -> Self {
        Self { shard, content: Content::Plain(entry) }
    }

    /// A tensor that is computed from its parts. Its shape must have been checked against them.
    pub(in crate::source) fn decoded(shape: Vec<usize>, parts: Vec<Part>, decoder: Box<dyn Decode>) -> Self {
        let shard = parts.first().map_or(0, |part| part.shard);
        Self { shard, content: Content::Decoded { shape, parts, decoder } }
    }

    pub(super) fn shape(&self) -> &[usize] {
        match &self.content {
            Content::Plain(entry) => &entry.shape,
            Content::Decoded { shape, .. } => shape,
        }
    }

    /// Indices of the first axis.
    pub(super) fn row_count(&self) -> usize {
        self.shape().first().copied().unwrap_or(1)
    }

    /// Elements under one index of the first axis. No overflow: the checks of the header have bounded the product of the
    /// whole shape where no axis is 0, and saturating it changes nothing where one is.
    pub(super) fn row_elements(&self) -> usize {
        self.shape().iter().skip(1).fold(1, |product: usize, size| product.saturating_mul(*size))
    }

    /// Whether the tensor can be converted: it has elements, and they are floats of 16 or 32 bits or can be decoded.
    pub(super) fn check_usable(&self, path: &Path, name: &str) -> Result<(), CheckpointError> {
        match &self.content {
            Content::Plain(entry) => entry.usable(path, name).map(drop),
            Content::Decoded { shape, .. } if shape.contains(&0) => {
                Err(CheckpointError::ZeroSize { path: path.to_owned(), tensor: name.to_owned(), shape: shape.clone() })
            }
            Content::Decoded { .. } => Ok(()),
        }
    }

    /// The bytes, with their files, that rows are read from.
    pub(super) fn spans(&self, rows: &Range<usize>) -> Vec<Part> {
        let count = self.row_count();
        let rows = rows.start.min(count)..rows.end.min(count);
        match &self.content {
            Content::Plain(entry) => {
                let start = entry.bytes.start;
                let bytes = start + rows.start * entry.row_bytes()..start + rows.end * entry.row_bytes();
                vec![Part { shard: self.shard, bytes }]
            }
            Content::Decoded { parts, decoder, .. } => {
                let span = |(index, part): (usize, &Part)| {
                    let whole = part.bytes.clone();
                    let bytes = decoder.span(index, &rows).map_or(whole.clone(), |span| {
                        (whole.start + span.start).min(whole.end)..(whole.start + span.end).min(whole.end)
                    });
                    Part { shard: part.shard, bytes }
                };
                parts.iter().enumerate().map(span).collect()
            }
        }
    }
}

/// Rows of a tensor as they are in the file.
pub(super) enum StoredRows<'a> {
    Plain { dtype: SourceDtype, bytes: &'a [u8] },
    Decoded { parts: Vec<&'a [u8]>, decoder: &'a dyn Decode },
}
