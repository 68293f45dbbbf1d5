//! What becomes of a block of weights: bytes of a weight file.

use anec_quantize::{ErrorStats, Histogram, Method, NormalizedRows, Palette, Palettizer, QuantizeError};
use half::f16;

use super::section::{Encoding, Section, to_usize};

/// What a worker keeps from one block to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// The weights of the block.
    pub(super) weights: Vec<f16>,
    indices: Vec<u8>,
    data: Vec<u8>,
    palettes: Vec<u8>,
    scales: Vec<u8>,
    /// The palettizer of the last block with what it is for.
    palettizer: Option<(u8, Method, Palettizer)>,
}

impl Scratch {
    /// Encodes the block, with the palette of its section where that shares one; [`parts`](Self::parts) are the result.
    pub(super) fn encode(
        &mut self,
        section: &Section<'_>,
        palette: Option<&Palette>,
    ) -> Result<ErrorStats, QuantizeError> {
        self.data.clear();
        self.palettes.clear();
        self.scales.clear();
        self.indices.clear();
        let columns = to_usize(section.source.columns).max(1);
        match section.encoding {
            Encoding::Float16 { .. } => {
                append_little_endian(&self.weights, &mut self.data);
                Ok(ErrorStats::default())
            }
            Encoding::Groups { bits, method, group_rows, scales_at, .. } => {
                let group_elements = columns.saturating_mul(to_usize(group_rows));
                let stats = if scales_at.is_some() {
                    self.scaled_groups(group_elements, columns, bits, method)?
                } else {
                    self.groups(group_elements, bits, method)?
                };
                anec_quantize::pack(&self.indices, bits, &mut self.data);
                Ok(stats)
            }
            Encoding::Shared { bits, scales_at, .. } => {
                let Some(palette) = palette else { return Ok(ErrorStats::default()) };
                let stats = self.assign(palette, columns, scales_at.is_some())?;
                anec_quantize::pack(&self.indices, bits, &mut self.data);
                Ok(stats)
            }
            Encoding::Int8 { .. } => {
                let rows = anec_quantize::quantize_rows_int8(&self.weights, columns)?;
                self.data.extend(rows.data.iter().map(|integer| integer.cast_unsigned()));
                append_little_endian(&rows.scales, &mut self.scales);
                Ok(rows.stats)
            }
        }
    }

    /// What was encoded, in the order of the places of a part.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        let parts = [&self.data, &self.palettes, &self.scales];
        parts.into_iter().filter(|part| !part.is_empty()).map(Vec::as_slice).collect()
    }

    /// Counts the values of the block for the palette of its section.
    pub(super) fn count(&self, section: &Section<'_>) -> Result<Histogram, QuantizeError> {
        let mut histogram = Histogram::new();
        if section.has_scales() {
            NormalizedRows::new(&self.weights, to_usize(section.source.columns))?.count_into(&mut histogram)?;
        } else {
            histogram.add(&self.weights)?;
        }
        Ok(histogram)
    }

    /// A palette for every group of `group_elements` weights.
    fn groups(&mut self, group_elements: usize, bits: u8, method: Method) -> Result<ErrorStats, QuantizeError> {
        let palettizer = match &mut self.palettizer {
            Some((of_bits, of_method, palettizer)) if (*of_bits, *of_method) == (bits, method) => palettizer,
            slot => &mut slot.insert((bits, method, Palettizer::new(bits, method)?)).2,
        };
        let mut stats = ErrorStats::default();
        for group in self.weights.chunks(group_elements) {
            let group = palettizer.group(group, &mut self.indices)?;
            append_little_endian(group.palette.entries(), &mut self.palettes);
            stats.merge(&group.stats);
        }
        Ok(stats)
    }

    /// As [`groups`](Self::groups), with a scale for each row.
    fn scaled_groups(
        &mut self,
        group_elements: usize,
        columns: usize,
        bits: u8,
        method: Method,
    ) -> Result<ErrorStats, QuantizeError> {
        let mut stats = ErrorStats::default();
        for group in self.weights.chunks(group_elements) {
            let group = anec_quantize::palettize_scaled_rows(group, columns, bits, method)?;
            self.indices.extend_from_slice(&group.rows.indices);
            append_little_endian(group.palette.entries(), &mut self.palettes);
            append_little_endian(&group.rows.scales, &mut self.scales);
            stats.merge(&group.rows.stats);
        }
        Ok(stats)
    }

    /// Indices in a palette that is there. The error of unscaled weights is known from their histogram.
    fn assign(&mut self, palette: &Palette, columns: usize, scaled: bool) -> Result<ErrorStats, QuantizeError> {
        if scaled {
            let rows = NormalizedRows::new(&self.weights, columns)?.assign(&self.weights, &palette.assigner());
            self.indices.extend_from_slice(&rows.indices);
            append_little_endian(&rows.scales, &mut self.scales);
            return Ok(rows.stats);
        }
        self.indices.resize(self.weights.len(), 0);
        palette.assigner().assign(&self.weights, &mut self.indices);
        Ok(ErrorStats::default())
    }
}

/// Appends fp16 values as a weight file has them.
pub(super) fn append_little_endian(values: &[f16], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + 2 * values.len(), 0);
    let (pairs, _) = bytes.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for (pair, value) in pairs.iter_mut().zip(values) {
        *pair = value.to_le_bytes();
    }
}
