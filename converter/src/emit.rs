//! Fills weight files: reads rows, encodes them, appends them, in the order that was planned.
//!
//! Blocks of rows are encoded in parallel and written in order, so memory is bounded by a few blocks, whatever the size
//! of a tensor, and the bytes do not depend on the number of threads.

use std::io::{self, Write};
use std::ops::Range;

use anec_mil::DataType;
use anec_mil::blob::{BlobError, BlobWriter};
use anec_quantize::{ErrorStats, Histogram, Method, QuantizeError};
use half::f16;
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::error::Hint;
use crate::weight_file::{Job, Rows, WeightFile};

/// Elements that one block aims at: 2 MiB of fp16, small enough for several in flight and large enough to amortize.
const BLOCK_ELEMENTS: u64 = 1 << 20;

/// Rows that a block is a multiple of, so that packed indices of any width end on a byte.
const BLOCK_ROW_MULTIPLE: u64 = 8;

/// Bytes of a source element, for progress; all sources but fp32 have two.
const PROGRESS_BYTES_PER_ELEMENT: u64 = 2;

/// A weight file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weight that cannot be palettized.
    #[error("Cannot palettize `{tensor}`")]
    Quantize {
        /// The tensor.
        tensor: String,
        /// Why.
        #[source]
        source: QuantizeError,
    },
    /// A bug in the plan: blobs that do not fit the layout.
    #[error("Cannot write the weight file as planned")]
    Blob(#[from] BlobError),
    /// The disk.
    #[error("Cannot write the weight file")]
    Io(#[from] io::Error),
}

impl Hint for EmitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Blob(_) => Some("this is a bug in anec; please report it with the model's config.json".to_owned()),
            Self::Quantize { .. } | Self::Io(_) => None,
        }
    }
}

/// What palettization cost one weight.
#[derive(Clone, Debug)]
pub struct QuantizedWeight {
    /// The tensor.
    pub tensor: String,
    /// Its rows, where it is split.
    pub rows: Range<u64>,
    /// Bits per index.
    pub bits: u8,
    /// The error.
    pub stats: ErrorStats,
}

/// Source bytes that filling `file` reads, for progress.
pub(crate) fn source_bytes(file: &WeightFile) -> u64 {
    file.jobs().iter().map(|job| job.source_elements() * PROGRESS_BYTES_PER_ELEMENT).sum()
}

/// Fills weight files from a checkpoint.
pub(crate) struct Emitter<'a> {
    checkpoint: &'a Checkpoint,
    progress: &'a ProgressBar,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, progress: &'a ProgressBar) -> Self {
        Self { checkpoint, progress }
    }

    /// Writes a whole weight file.
    pub(crate) fn write<W: Write>(&self, file: &WeightFile, output: W) -> Result<Vec<QuantizedWeight>, EmitError> {
        let mut writer = BlobWriter::new(output, file.layout())?;
        let mut quantized = Vec::new();
        for job in file.jobs() {
            match job {
                Job::Generated { dtype, bytes } => {
                    let count = bytes.len() as u64 * 8 / u64::from(dtype.bits().max(1));
                    writer.begin(*dtype, count)?;
                    writer.write(bytes)?;
                }
                Job::Float16(rows) => {
                    self.float16(rows, &mut writer)?;
                    self.checkpoint.release(&rows.tensor);
                }
                Job::Palettized { rows, bits, group_rows } => {
                    let stats = if *group_rows == rows.rows.end - rows.rows.start {
                        self.palettized_tensor(rows, *bits, &mut writer)?
                    } else {
                        self.palettized_groups(rows, *bits, *group_rows, &mut writer)?
                    };
                    self.checkpoint.release(&rows.tensor);
                    let (tensor, rows) = (rows.tensor.clone(), rows.rows.clone());
                    quantized.push(QuantizedWeight { tensor, rows, bits: *bits, stats });
                }
            }
        }
        writer.finish()?.flush()?;
        Ok(quantized)
    }

    fn float16<W: Write>(&self, rows: &Rows, writer: &mut BlobWriter<W>) -> Result<(), EmitError> {
        writer.begin(DataType::Float16, elements(rows))?;
        self.in_blocks(rows, 1, |_, weights| Ok(little_endian(weights)), |bytes| Ok(writer.write(&bytes)?))
    }

    /// A palette per group: groups are independent, so indices stream out and palettes are kept for the blob after them.
    fn palettized_groups<W: Write>(
        &self,
        rows: &Rows,
        bits: u8,
        group_rows: u64,
        writer: &mut BlobWriter<W>,
    ) -> Result<ErrorStats, EmitError> {
        let group_elements = to_usize(group_rows * rows.columns);
        let quantize = |_: &Range<u64>, weights: &[f16]| {
            let mut indices = Vec::with_capacity(weights.len());
            let mut palettes = Vec::new();
            let mut stats = ErrorStats::default();
            for group in weights.chunks(group_elements.max(1)) {
                let group = anec_quantize::palettize_group(group, bits, Method::Fast)
                    .map_err(|source| EmitError::Quantize { tensor: rows.tensor.clone(), source })?;
                indices.extend_from_slice(&group.indices);
                palettes.extend_from_slice(group.palette.entries());
                stats.merge(&group.stats);
            }
            Ok((packed(&indices, bits), palettes, stats))
        };
        let mut palettes = Vec::new();
        let mut stats = ErrorStats::default();
        writer.begin(index_type(bits), elements(rows))?;
        self.in_blocks(rows, group_rows, quantize, |(indices, block_palettes, block_stats)| {
            palettes.extend(block_palettes);
            stats.merge(&block_stats);
            Ok(writer.write(&indices)?)
        })?;
        writer.begin(DataType::Float16, palettes.len() as u64)?;
        writer.write(&little_endian(&palettes))?;
        Ok(stats)
    }

    /// One palette for all rows: one pass for the histogram, one for the indices.
    fn palettized_tensor<W: Write>(
        &self,
        rows: &Rows,
        bits: u8,
        writer: &mut BlobWriter<W>,
    ) -> Result<ErrorStats, EmitError> {
        let failed = |source| EmitError::Quantize { tensor: rows.tensor.clone(), source };
        let mut histogram = Histogram::new();
        let count = |_: &Range<u64>, weights: &[f16]| {
            let mut histogram = Histogram::new();
            histogram.add(weights).map_err(failed)?;
            Ok(histogram)
        };
        self.in_blocks(rows, 1, count, |block| {
            histogram.merge(&block);
            Ok(())
        })?;
        let palette = histogram.palette(bits, Method::Fast).map_err(failed)?;
        let assigner = palette.assigner();
        writer.begin(index_type(bits), elements(rows))?;
        let assign = |_: &Range<u64>, weights: &[f16]| {
            let mut indices = vec![0; weights.len()];
            assigner.assign(weights, &mut indices);
            Ok(packed(&indices, bits))
        };
        self.in_blocks(rows, 1, assign, |indices| Ok(writer.write(&indices)?))?;
        writer.begin(DataType::Float16, palette.entries().len() as u64)?;
        writer.write(&little_endian(palette.entries()))?;
        Ok(histogram.error(&assigner))
    }

    /// Encodes blocks of whole groups of `group_rows` rows in parallel and hands the results to `sink` in order.
    fn in_blocks<T: Send>(
        &self,
        rows: &Rows,
        group_rows: u64,
        encode: impl Fn(&Range<u64>, &[f16]) -> Result<T, EmitError> + Sync,
        mut sink: impl FnMut(T) -> Result<(), EmitError>,
    ) -> Result<(), EmitError> {
        let blocks = blocks(rows, group_rows);
        let wave = 2 * rayon::current_num_threads();
        for blocks in blocks.chunks(wave.max(1)) {
            let encoded: Vec<Result<T, EmitError>> = blocks
                .par_iter()
                .map(|block| {
                    let mut weights = Vec::new();
                    self.checkpoint.rows_f16(&rows.tensor, to_usize(block.start)..to_usize(block.end), &mut weights)?;
                    keep_columns(rows, to_usize(block.end - block.start), &mut weights);
                    encode(block, &weights)
                })
                .collect();
            for (block, encoded) in blocks.iter().zip(encoded) {
                sink(encoded?)?;
                self.progress.inc((block.end - block.start) * rows.columns * PROGRESS_BYTES_PER_ELEMENT);
            }
        }
        Ok(())
    }
}

/// Cuts whole rows to the columns that `rows` takes.
fn keep_columns(rows: &Rows, count: usize, weights: &mut Vec<f16>) {
    let (first, columns) = (to_usize(rows.first_column), to_usize(rows.columns));
    let row_length = weights.len() / count.max(1);
    if columns == row_length {
        return;
    }
    for row in 0..count {
        let start = row * row_length + first;
        weights.copy_within(start..start + columns, row * columns);
    }
    weights.truncate(count * columns);
}

/// Cuts rows into blocks of whole groups.
fn blocks(rows: &Rows, group_rows: u64) -> Vec<Range<u64>> {
    let unit = group_rows.max(1) * BLOCK_ROW_MULTIPLE;
    let unit_elements = unit.saturating_mul(rows.columns.max(1));
    let step = unit * (BLOCK_ELEMENTS / unit_elements).max(1);
    let mut start = rows.rows.start;
    let mut blocks = Vec::new();
    while start < rows.rows.end {
        let end = start.saturating_add(step).min(rows.rows.end);
        blocks.push(start..end);
        start = end;
    }
    blocks
}

fn elements(rows: &Rows) -> u64 {
    (rows.rows.end - rows.rows.start) * rows.columns
}

fn index_type(bits: u8) -> DataType {
    DataType::unsigned(u32::from(bits)).unwrap_or(DataType::UInt8)
}

fn packed(indices: &[u8], bits: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    anec_quantize::pack(indices, bits, &mut bytes);
    bytes
}

fn little_endian(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Row numbers come from tensors that are mapped into memory, so they fit.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_to_their_columns() {
        let rows = Rows { tensor: "w".to_owned(), rows: 0..2, first_column: 1, columns: 2 };
        let mut weights: Vec<f16> = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(f16::from_f32).to_vec();
        keep_columns(&rows, 2, &mut weights);
        assert_eq!(weights, [1.0, 2.0, 5.0, 6.0].map(f16::from_f32));
    }

    #[test]
    fn blocks_hold_whole_groups_and_end_on_bytes() {
        let rows = Rows { tensor: "w".to_owned(), rows: 16..16 + 896, first_column: 0, columns: 4864 };
        let blocks = blocks(&rows, 8);
        assert_eq!(blocks.first().map(|block| block.start), Some(16));
        assert_eq!(blocks.last().map(|block| block.end), Some(912));
        assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(blocks.iter().rev().skip(1).all(|block| (block.end - block.start).is_multiple_of(64)));
    }
}
