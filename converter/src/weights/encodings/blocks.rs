//! How rows become bytes: runs of rows that are encoded alike, cut into blocks of bounded size whose bytes have their own
//! places in a file.

use std::any::Any;
use std::fmt;
use std::ops::Range;

use anec_quantize::{ErrorStats, Histogram, Palette, QuantizeError};
use half::f16;

use crate::weights::CalibratedRows;
use crate::weights::rows::Rows;

/// Elements that one block aims at: 2 MiB of fp16, small enough for several in flight and large enough to amortize.
pub(crate) const BLOCK_ELEMENTS: u64 = 1 << 20;

/// Bits of an fp16.
pub(super) const FLOAT16_BITS: u64 = 16;

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Rows that are encoded in one way.
#[derive(Debug)]
pub(crate) struct Run {
    /// Which rows.
    pub(crate) rows: Range<u64>,
    /// Rows of every block but the last.
    pub(crate) rows_per_block: u64,
    /// How.
    pub(crate) coder: Coder,
}

/// How blocks become bytes.
#[derive(Debug)]
pub(crate) enum Coder {
    /// Each on its own.
    Alone(Box<dyn BlockCoder>),
    /// With one palette for all of them, so that they are read twice: to count values, and to assign them.
    Shared(Box<dyn SharedCoder>),
}

impl Coder {
    /// Where the bytes of a block go.
    pub(crate) fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        match self {
            Self::Alone(coder) => coder.places(rows),
            Self::Shared(coder) => coder.places(rows),
        }
    }
}

/// Weights of a block.
#[derive(Clone, Debug)]
pub(crate) struct Block<'a> {
    /// The weight that it is a part of.
    pub(crate) source: &'a Rows,
    /// Its elements, row by row.
    pub(crate) weights: &'a [f16],
    /// What calibration found for these rows, where the storage is calibrated.
    pub(crate) calibrated: Option<CalibratedRows<'a>>,
}

impl Block<'_> {
    /// Elements of a row.
    pub(crate) fn columns(&self) -> usize {
        to_usize(self.source.columns).max(1)
    }
}

/// Encodes blocks, each on its own.
pub(crate) trait BlockCoder: fmt::Debug + Send + Sync {
    /// Where the bytes of a block go, one place a buffer.
    fn places(&self, rows: &Range<u64>) -> Vec<Place>;

    /// Encodes a block into buffers of `scratch`, and gives the error.
    ///
    /// # Errors
    /// Weights that cannot be quantized.
    fn encode(&self, block: &Block<'_>, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError>;
}

/// Encodes blocks that share a palette.
pub(crate) trait SharedCoder: fmt::Debug + Send + Sync {
    /// Where the bytes of a block go, one place a buffer.
    fn places(&self, rows: &Range<u64>) -> Vec<Place>;

    /// Where the palette goes.
    fn palette_place(&self) -> Place;

    /// Counts the values of a block. Counts are merged in the order of blocks.
    ///
    /// # Errors
    /// Weights that cannot be quantized.
    fn count(&self, block: &Block<'_>) -> Result<Histogram, QuantizeError>;

    /// The palette for the values of all blocks, and as much of the error as is known from them.
    ///
    /// # Errors
    /// Values that have no palette.
    fn palette(&self, values: &Histogram) -> Result<(Palette, ErrorStats), QuantizeError>;

    /// Encodes a block into buffers of `scratch`, and gives the error that [`palette`](Self::palette) does not know.
    ///
    /// # Errors
    /// Weights that cannot be quantized.
    fn assign(&self, block: &Block<'_>, palette: &Palette, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError>;
}

/// What a worker keeps from one block to the next: buffers, and what an encoder wants to have again.
#[derive(Default)]
pub(crate) struct Scratch {
    buffers: Vec<Vec<u8>>,
    used: usize,
    kept: Option<Box<dyn Any>>,
}

impl Scratch {
    /// Empty buffers for the bytes of a block, as many as it has places.
    pub(crate) fn buffers<const N: usize>(&mut self) -> &mut [Vec<u8>; N] {
        if self.buffers.len() < N {
            self.buffers.resize_with(N, Vec::new);
        }
        self.used = N;
        let buffers = self.buffers.first_chunk_mut().expect("as many were made");
        buffers.iter_mut().for_each(Vec::clear);
        buffers
    }

    /// What an encoder put here for its next block, or a new one.
    pub(crate) fn take_kept<T: Default + 'static>(&mut self) -> T {
        self.kept.take().and_then(|kept| kept.downcast().ok()).map_or_else(T::default, |kept| *kept)
    }

    /// Keeps something for the next block.
    pub(crate) fn keep<T: 'static>(&mut self, kept: T) {
        self.kept = Some(Box::new(kept));
    }

    /// The bytes of the last block.
    pub(crate) fn encoded(&self) -> Vec<&[u8]> {
        self.buffers.iter().take(self.used).map(Vec::as_slice).collect()
    }
}

/// Elements of the rows of a weight that stand one after the other in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The row whose elements come first.
    pub(crate) first_row: u64,
    /// Elements of a row.
    pub(crate) columns: u64,
    /// Bits of an element.
    pub(crate) bits: u64,
    /// Where the first element is.
    pub(crate) at: u64,
}

impl Span {
    /// Where the elements of some rows are, which start and end on whole bytes.
    pub(crate) fn place(&self, rows: &Range<u64>) -> Place {
        let byte = |row: u64| self.at + ((row - self.first_row) * self.columns * self.bits).div_ceil(8);
        Place { start: byte(rows.start), end: byte(rows.end) }
    }
}

/// Rows of a block: whole groups that end on a byte.
pub(crate) fn rows_per_block(columns: u64, bits: u64, group_rows: u64) -> u64 {
    let unit = groups_to_bytes(columns, bits, group_rows).saturating_mul(group_rows);
    let unit_elements = unit.saturating_mul(columns).max(1);
    unit.saturating_mul((BLOCK_ELEMENTS / unit_elements).max(1))
}

/// The fewest groups whose elements fill whole bytes.
pub(crate) fn groups_to_bytes(columns: u64, bits: u64, group_rows: u64) -> u64 {
    let group_bits = (columns % 8) * bits * (group_rows % 8);
    (1..8).find(|groups| (group_bits * groups).is_multiple_of(8)).unwrap_or(8)
}

/// Appends fp16 values as a weight file has them.
pub(crate) fn append_little_endian(values: &[f16], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + 2 * values.len(), 0);
    let (pairs, _) = bytes.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for (pair, value) in pairs.iter_mut().zip(values) {
        *pair = value.to_le_bytes();
    }
}

/// Row numbers come from tensors that are mapped into memory, so they fit.
pub(crate) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
