//! Indices and palettes that calibration found: stored as those of [`palette`](super::palette), made before emission.

use std::ops::Range;

use anec_mil::{BuildError, FunctionBuilder, Opset, TensorType, Value};
use anec_quantize::{ErrorStats, QuantizeError};

use super::blocks::{Block, BlockCoder, Coder, FLOAT16_BITS, Place, Run, Scratch, Span};
use super::blocks::{append_little_endian, rows_per_block, to_usize};
use super::palette::{self, Palettes};
use super::{Constant, Defaults, Encoding, Kind, Lut, StorageError, UnfitError, exactly};
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

/// What follows the grammar of palettes.
pub(crate) const SUFFIX: &str = "+calibrated";

pub(crate) static KIND: Kind = Kind {
    grammar: "lutN[:GROUP]+calibrated",
    examples: &["lut4+calibrated", "lut3:4+calibrated"],
    parse: |text, defaults| {
        let palette = text.strip_prefix("lut")?.strip_suffix(SUFFIX)?;
        Some(parse(palette, defaults).map(Storage::new))
    },
};

/// Palettes of groups of output channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calibrated(Palettes);

fn parse(text: &str, defaults: &Defaults) -> Result<Calibrated, StorageError> {
    let palettes = palette::parse(text, &Defaults { channel_scale: false, ..*defaults })?;
    let is_plain = palettes.lut().is_some_and(|lut| lut.channels.is_some()) && !palettes.has_scale();
    let expected = "a number of channels behind the colon, and no scale, where palettes are calibrated";
    is_plain.then_some(Calibrated(palettes)).ok_or(StorageError::Parameter { expected })
}

impl Encoding for Calibrated {
    fn spec(&self) -> String {
        let Lut { bits, channels } = self.shape();
        format!("lut{bits}:{}{SUFFIX}", channels.unwrap_or_default())
    }

    fn description(&self) -> String {
        format!("{}, calibrated", self.0.description())
    }

    fn decision(&self) -> String {
        format!("calibrated {}", self.0.decision())
    }

    fn suffix(&self) -> String {
        self.0.suffix()
    }

    fn quantized_bits(&self) -> Option<u8> {
        self.0.quantized_bits()
    }

    fn lut(&self) -> Option<Lut> {
        self.0.lut()
    }

    fn is_calibrated(&self) -> bool {
        true
    }

    fn row_unit(&self) -> u64 {
        self.0.row_unit()
    }

    fn check_table(&self) -> Result<(), &'static str> {
        Err("calibration is of the inputs of projections, and a table has none")
    }

    fn check_opset(&self, opset: Opset) -> Result<(), &'static str> {
        self.0.check_opset(opset)
    }

    fn stored_rows(&self, rows: &Rows) -> u64 {
        self.0.stored_rows(rows)
    }

    fn blobs(&self, rows: &Rows, shape: &[u64]) -> Result<Vec<TensorType>, UnfitError> {
        self.0.blobs(rows, shape)
    }

    fn constant(&self, ops: &mut FunctionBuilder, name: &str, blobs: Vec<Value>) -> Result<Constant, BuildError> {
        self.0.constant(ops, name, blobs)
    }

    fn runs(&self, rows: &Rows, offsets: &[u64]) -> Vec<Run> {
        let [indices_at, palettes_at] = exactly(offsets.to_vec());
        let Lut { bits, channels } = self.shape();
        let (first_row, group_rows, bits) = (rows.rows.start, channels.unwrap_or(1).max(1), u64::from(bits));
        let coder = Found {
            indices: Span { first_row, columns: rows.columns, bits, at: indices_at },
            palettes: Span { first_row: 0, columns: 1 << bits, bits: FLOAT16_BITS, at: palettes_at },
            group_rows,
        };
        let rows_per_block = rows_per_block(rows.columns, bits, group_rows);
        vec![Run { rows: rows.rows.clone(), rows_per_block, coder: Coder::Alone(Box::new(coder)) }]
    }
}

impl Calibrated {
    fn shape(self) -> Lut {
        self.0.lut().expect("palettes have a shape")
    }
}

/// Takes what was found.
#[derive(Debug)]
struct Found {
    indices: Span,
    /// A row is a palette.
    palettes: Span,
    group_rows: u64,
}

impl BlockCoder for Found {
    fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        let group = |row: u64| (row - self.indices.first_row).div_ceil(self.group_rows);
        vec![self.indices.place(rows), self.palettes.place(&(group(rows.start)..group(rows.end)))]
    }

    fn encode(&self, block: &Block<'_>, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError> {
        let found = block.calibrated.as_ref().expect("emission looks up what was calibrated");
        let first = to_usize(block.source.first_column);
        let columns = first..first + block.columns();
        let rows = found.indices.chunks_exact(found.columns.max(1));
        let indices: Vec<u8> =
            rows.clone().flat_map(|row| row.get(columns.clone()).unwrap_or_default()).copied().collect();
        let [data, palettes] = scratch.buffers();
        anec_quantize::pack(&indices, found.bits, data);
        append_little_endian(found.palettes, palettes);
        let group = block.columns().saturating_mul(to_usize(self.group_rows)).max(1);
        let groups = block.weights.chunks(group).zip(indices.chunks(group));
        let mut stats = ErrorStats::default();
        for ((weights, indices), palette) in groups.zip(found.palettes.chunks_exact(1 << found.bits)) {
            let entry = |index: &u8| palette.get(usize::from(*index)).map_or(0.0, |entry| entry.to_f32());
            let pairs = weights.iter().zip(indices).map(|(weight, index)| (weight.to_f32(), entry(index)));
            stats.merge(&ErrorStats::of_pairs(pairs));
        }
        Ok(stats)
    }
}
