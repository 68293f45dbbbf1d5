//! Weights as they are, rounded to fp16.

use std::ops::Range;

use anec_mil::{BuildError, DataType, FunctionBuilder, TensorType, Value};
use anec_quantize::{ErrorStats, QuantizeError};

use super::blocks::{Block, BlockCoder, Coder, FLOAT16_BITS, Place, Run, Scratch, Span};
use super::blocks::{append_little_endian, rows_per_block};
use super::{Constant, Encoding, Kind, UnfitError, exactly};
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

const NAME: &str = "fp16";

pub(crate) static KIND: Kind =
    Kind { grammar: NAME, examples: &[NAME], parse: |text, _| (text == NAME).then(|| Ok(Storage::new(Float16))) };

/// One blob of fp16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Float16;

impl Encoding for Float16 {
    fn spec(&self) -> String {
        NAME.to_owned()
    }

    fn description(&self) -> String {
        "none".to_owned()
    }

    fn decision(&self) -> String {
        NAME.to_owned()
    }

    fn suffix(&self) -> String {
        String::new()
    }

    fn quantized_bits(&self) -> Option<u8> {
        None
    }

    fn blobs(&self, _: &Rows, shape: &[u64]) -> Result<Vec<TensorType>, UnfitError> {
        Ok(vec![TensorType::fixed(DataType::Float16, shape)])
    }

    fn constant(&self, ops: &mut FunctionBuilder, name: &str, blobs: Vec<Value>) -> Result<Constant, BuildError> {
        let [value] = exactly(blobs);
        Ok(Constant { weight: ops.constant(name, value), result_scale: None })
    }

    fn runs(&self, rows: &Rows, offsets: &[u64]) -> Vec<Run> {
        let [at] = exactly(offsets.to_vec());
        let data = Span { first_row: rows.rows.start, columns: rows.columns, bits: FLOAT16_BITS, at };
        let rows_per_block = rows_per_block(rows.columns, FLOAT16_BITS, 1);
        vec![Run { rows: rows.rows.clone(), rows_per_block, coder: Coder::Alone(Box::new(Plain { data })) }]
    }
}

#[derive(Debug)]
struct Plain {
    data: Span,
}

impl BlockCoder for Plain {
    fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        vec![self.data.place(rows)]
    }

    fn encode(&self, block: &Block<'_>, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError> {
        let [data] = scratch.buffers();
        append_little_endian(block.weights, data);
        Ok(ErrorStats::default())
    }
}
