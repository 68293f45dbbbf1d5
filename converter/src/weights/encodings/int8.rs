//! Integers of eight bits with a scale for each row, the row being an output channel or a token.

use std::ops::Range;

use anec_mil::{BuildError, DataType, FunctionBuilder, Opset, TensorType, Value};
use anec_quantize::{ErrorStats, QuantizeError};

use super::blocks::{Block, BlockCoder, Coder, FLOAT16_BITS, Place, Run, Scratch, Span};
use super::blocks::{append_little_endian, rows_per_block};
use super::{Constant, Encoding, Kind, UnfitError, exactly};
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

const NAME: &str = "int8";

const BITS: u8 = 8;

pub(crate) static KIND: Kind =
    Kind { grammar: NAME, examples: &[NAME], parse: |text, _| (text == NAME).then(|| Ok(Storage::new(Int8))) };

/// A blob of integers, and one of scales.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int8;

impl Encoding for Int8 {
    fn spec(&self) -> String {
        NAME.to_owned()
    }

    fn description(&self) -> String {
        "int8, a scale per channel".to_owned()
    }

    fn decision(&self) -> String {
        "int8 with a scale per row".to_owned()
    }

    fn suffix(&self) -> String {
        "_int8".to_owned()
    }

    fn quantized_bits(&self) -> Option<u8> {
        Some(BITS)
    }

    fn blobs(&self, rows: &Rows, shape: &[u64]) -> Result<Vec<TensorType>, UnfitError> {
        let mut scale_shape = vec![rows.count()];
        scale_shape.resize(shape.len(), 1);
        Ok(vec![TensorType::fixed(DataType::Int8, shape), TensorType::fixed(DataType::Float16, &scale_shape)])
    }

    fn constant(&self, ops: &mut FunctionBuilder, name: &str, blobs: Vec<Value>) -> Result<Constant, BuildError> {
        let [data, scale] = exactly(blobs);
        let name = format!("{name}_quantized");
        let weight = if ops.opset() >= Opset::Ios18 {
            ops.blockwise_shift_scale(&name, data, scale, None)?
        } else {
            ops.scaled_rows(&name, data, scale)?
        };
        Ok(Constant { weight, result_scale: None })
    }

    fn runs(&self, rows: &Rows, offsets: &[u64]) -> Vec<Run> {
        let [data_at, scales_at] = exactly(offsets.to_vec());
        let first_row = rows.rows.start;
        let coder = Integers {
            data: Span { first_row, columns: rows.columns, bits: u64::from(BITS), at: data_at },
            scales: Span { first_row, columns: 1, bits: FLOAT16_BITS, at: scales_at },
        };
        let rows_per_block = rows_per_block(rows.columns, u64::from(BITS), 1);
        vec![Run { rows: rows.rows.clone(), rows_per_block, coder: Coder::Alone(Box::new(coder)) }]
    }
}

#[derive(Debug)]
struct Integers {
    data: Span,
    scales: Span,
}

impl BlockCoder for Integers {
    fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        vec![self.data.place(rows), self.scales.place(rows)]
    }

    fn encode(&self, block: &Block<'_>, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError> {
        let rows = anec_quantize::quantize_rows_int8(block.weights, block.columns())?;
        let [data, scales] = scratch.buffers();
        data.extend(rows.data.iter().map(|integer| integer.cast_unsigned()));
        append_little_endian(&rows.scales, scales);
        Ok(rows.stats)
    }
}
