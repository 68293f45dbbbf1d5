//! The worked example of CONTRIBUTING.md, "Adding an encoding": integers of eight bits with a scale for each run of
//! columns. It is compiled with the tests, which hold for it as for every other encoding.

use std::ops::Range;

use anec_mil::{BuildError, DataType, FunctionBuilder, TensorType, Value};
use anec_quantize::{ErrorStats, QuantizeError};

use super::blocks::{Block, BlockCoder, Coder, FLOAT16_BITS, Place, Run, Scratch, Span};
use super::blocks::{append_little_endian, rows_per_block};
use super::{Constant, Encoding, Kind, StorageError, UnfitError, exactly};
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

const BITS: u8 = 8;

// 1. How it is asked for.
pub(crate) static KIND: Kind = Kind {
    grammar: "int8/COLUMNS",
    examples: &["int8/1"],
    parse: |text, _| {
        let columns = text.strip_prefix("int8/")?.parse().ok().filter(|columns| *columns > 0);
        let wrong = StorageError::Parameter { expected: "a positive number of columns behind `int8/`" };
        Some(columns.map(|columns| Storage::new(Blockwise { columns })).ok_or(wrong))
    },
};

#[derive(Clone, Copy, Debug)]
struct Blockwise {
    columns: u64,
}

impl Encoding for Blockwise {
    // 2. How it is named: on the command line, in meta files, in decisions, in file names.
    fn spec(&self) -> String {
        format!("int8/{}", self.columns)
    }

    fn description(&self) -> String {
        format!("int8, a scale per {} columns", self.columns)
    }

    fn decision(&self) -> String {
        format!("int8 with a scale per {} columns", self.columns)
    }

    fn suffix(&self) -> String {
        "_int8".to_owned()
    }

    fn quantized_bits(&self) -> Option<u8> {
        Some(BITS)
    }

    // 3. Which blobs it takes.
    fn blobs(&self, rows: &Rows, shape: &[u64]) -> Result<Vec<TensorType>, UnfitError> {
        if !rows.columns.is_multiple_of(self.columns) {
            return Err(UnfitError {
                tensor: rows.tensor.clone(),
                storage: self.spec(),
                problem: format!("{} does not divide its {} columns", self.columns, rows.columns),
                hint: None,
            });
        }
        let mut scale_shape = vec![rows.count(), rows.columns / self.columns];
        scale_shape.resize(shape.len(), 1);
        Ok(vec![TensorType::fixed(DataType::Int8, shape), TensorType::fixed(DataType::Float16, &scale_shape)])
    }

    // 4. What a graph makes of them.
    fn constant(&self, ops: &mut FunctionBuilder, name: &str, blobs: Vec<Value>) -> Result<Constant, BuildError> {
        let [data, scale] = exactly(blobs);
        let weight = ops.blockwise_shift_scale(&format!("{name}_quantized"), data, scale, None)?;
        Ok(Constant { weight, result_scale: None })
    }

    // 5. How rows become bytes.
    fn runs(&self, rows: &Rows, offsets: &[u64]) -> Vec<Run> {
        let [data_at, scales_at] = exactly(offsets.to_vec());
        let first_row = rows.rows.start;
        let coder = Integers {
            columns: self.columns,
            data: Span { first_row, columns: rows.columns, bits: u64::from(BITS), at: data_at },
            scales: Span { first_row, columns: rows.columns / self.columns, bits: FLOAT16_BITS, at: scales_at },
        };
        let rows_per_block = rows_per_block(rows.columns, u64::from(BITS), 1);
        vec![Run { rows: rows.rows.clone(), rows_per_block, coder: Coder::Alone(Box::new(coder)) }]
    }
}

#[derive(Debug)]
struct Integers {
    columns: u64,
    data: Span,
    scales: Span,
}

impl BlockCoder for Integers {
    fn places(&self, rows: &Range<u64>) -> Vec<Place> {
        vec![self.data.place(rows), self.scales.place(rows)]
    }

    // 6. And how large the error is.
    fn encode(&self, block: &Block<'_>, scratch: &mut Scratch) -> Result<ErrorStats, QuantizeError> {
        let columns = super::blocks::to_usize(self.columns);
        let runs = anec_quantize::quantize_rows_int8(block.weights, columns)?;
        let [data, scales] = scratch.buffers();
        data.extend(runs.data.iter().map(|integer| integer.cast_unsigned()));
        append_little_endian(&runs.scales, scales);
        Ok(runs.stats)
    }
}
