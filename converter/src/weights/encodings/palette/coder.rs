//! How rows become indices and palettes.

use std::ops::Range;

use anec_quantize::{ErrorStats, Histogram, Method, NormalizedRows, Palette, Palettizer, QuantizeError};

use crate::weights::encodings::blocks::{
    Block, BlockCoder, FLOAT16_BITS, Place, Scratch, SharedCoder, Span, append_little_endian, to_usize,
};
use crate::weights::rows::Rows;

/// What palettes are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    /// Bits per index.
    pub(super) bits: u8,
    /// How palettes are found.
    pub(super) method: Method,
    /// Rows that share a palette.
    pub(super) group_rows: u64,
}

/// Where the bytes of a weight go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    indices: Span,
    palettes: Palettes,
    scales: Option<Span>,
}

/// Where the palettes of a weight go.
#[derive(Clone, Copy, Debug)]
struct Palettes {
    first_row: u64,
    group_rows: u64,
    bytes: u64,
    at: u64,
}

impl Palettes {
    /// The palettes of some whole groups, of which the last may be short.
    fn place(&self, rows: &Range<u64>) -> Place {
        let byte = |row: u64| self.at + (row - self.first_row).div_ceil(self.group_rows) * self.bytes;
        Place { start: byte(rows.start), end: byte(rows.end) }
    }
}

impl Places {
    /// The places of a weight whose blobs have their data at `offsets`.
    pub(super) fn new(rows: &Rows, parameters: &Parameters, offsets: &[u64]) -> Self {
        let mut offsets = offsets.iter().copied();
        let mut next = || offsets.next().expect("an encoding is given the blobs that it asked for");
        let (first_row, columns, group_rows) = (rows.rows.start, rows.columns, parameters.group_rows);
        let bytes = (FLOAT16_BITS / 8) << parameters.bits;
        Self {
            indices: Span { first_row, columns, bits: u64::from(parameters.bits), at: next() },
            palettes: Palettes { first_row, group_rows, bytes, at: next() },
            scales: offsets.next().map(|at| Span { first_row, columns: 1, bits: FLOAT16_BITS, at }),
        }
    }

    fn scales(&self, rows: &Range<u64>) -> Option<Place> {
        self.scales.map(|scales| scales.place(rows))
    }
}

/// What a worker keeps for its next block.
#[derive(Default)]
struct Kept {
    indices: Vec<u8>,
    /// The palettizer of the last block with what it is for.
    palettizer: Option<(u8, Method, Palettizer)>,
}

/// A palette for every group of rows; blocks hold whole groups.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) parameters: Parameters,
    pub(super) places: Places,
}

impl Groups {
    fn group_elements(&self, columns: usize) -> usize {
        columns.saturating_mul(to_usize(self.parameters.group_rows))
    }
}

impl BlockCoder for Groups {
    fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        let places = [self.places.indices.place(rows), self.places.palettes.place(rows)];
        places.into_iter().chain(self.places.scales(rows)).collect()
    }

    fn encode(&self, block: &Block<'_>, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError> {
        let Parameters { bits, method, .. } = self.parameters;
        let groups = block.weights.chunks(self.group_elements(block.columns()));
        let mut kept: Kept = scratch.take_kept();
        kept.indices.clear();
        let mut stats = ErrorStats::default();
        if self.places.scales.is_some() {
            let [data, palettes, scales] = scratch.buffers();
            for group in groups {
                let group = anec_quantize::palettize_scaled_rows(group, block.columns(), bits, method)?;
                kept.indices.extend_from_slice(&group.rows.indices);
                append_little_endian(group.palette.entries(), palettes);
                append_little_endian(&group.rows.scales, scales);
                stats.merge(&group.rows.stats);
            }
            anec_quantize::pack(&kept.indices, bits, data);
        } else {
            let [data, palettes] = scratch.buffers();
            let Kept { indices, palettizer } = &mut kept;
            let palettizer = match palettizer {
                Some((of_bits, of_method, palettizer)) if (*of_bits, *of_method) == (bits, method) => palettizer,
                slot => &mut slot.insert((bits, method, Palettizer::new(bits, method)?)).2,
            };
            for group in groups {
                let group = palettizer.group(group, indices)?;
                append_little_endian(group.palette.entries(), palettes);
                stats.merge(&group.stats);
            }
            anec_quantize::pack(indices, bits, data);
        }
        scratch.keep(kept);
        Ok(stats)
    }
}

/// One palette for more rows than a block holds.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parameters: Parameters,
    pub(super) places: Places,
    /// The first of the rows.
    pub(super) first_row: u64,
}

impl SharedCoder for Shared {
    fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        [self.places.indices.place(rows)].into_iter().chain(self.places.scales(rows)).collect()
    }

    fn palette_place(&self) -> Place {
        self.places.palettes.place(&(self.first_row..self.first_row + self.parameters.group_rows))
    }

    fn count(&self, block: &Block<'_>) -> Result<Histogram, QuantizeError> {
        let mut histogram = Histogram::new();
        if self.places.scales.is_some() {
            NormalizedRows::new(block.weights, block.columns())?.count_into(&mut histogram)?;
        } else {
            histogram.add(block.weights)?;
        }
        Ok(histogram)
    }

    fn palette(&self, values: &Histogram) -> Result<(Palette, ErrorStats), QuantizeError> {
        let palette = values.palette(self.parameters.bits, self.parameters.method)?;
        // Scaled rows have errors that only their blocks know.
        let is_scaled = self.places.scales.is_some();
        let stats = if is_scaled { ErrorStats::default() } else { values.error(&palette.assigner()) };
        Ok((palette, stats))
    }

    fn assign(&self, block: &Block<'_>, palette: &Palette, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError> {
        let bits = self.parameters.bits;
        if self.places.scales.is_some() {
            let rows = NormalizedRows::new(block.weights, block.columns())?.assign(block.weights, &palette.assigner());
            let [data, scales] = scratch.buffers();
            append_little_endian(&rows.scales, scales);
            anec_quantize::pack(&rows.indices, bits, data);
            return Ok(rows.stats);
        }
        let mut kept: Kept = scratch.take_kept();
        kept.indices.clear();
        kept.indices.resize(block.weights.len(), 0);
        palette.assigner().assign(block.weights, &mut kept.indices);
        let [data] = scratch.buffers();
        anec_quantize::pack(&kept.indices, bits, data);
        scratch.keep(kept);
        Ok(ErrorStats::default())
    }
}
