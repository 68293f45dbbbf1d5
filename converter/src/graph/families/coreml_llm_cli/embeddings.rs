//! The first model of the pipeline, for the CPU: token ids to activations, rotations and mask.
//!
//! # Shapes
//! `input_ids` int32 `[1, 64]` and `full_sequence_length` int32 `[1]` to `x` fp16 `[1, hidden_size, 8, 8]`, `cos` and `sin`
//! fp16 `[head_dim, 64]`, and `mask` fp16 `[1, context_length, 1, 64]`.
//!
//! Token q of the block is at position `full_sequence_length - 64 + q`, and row j of the context at
//! `full_sequence_length - context_length + j`: which of both is first depends on j and q alone, so that the causal part of the
//! mask is a table. What depends on the length is how many rows are before position 0.

use std::ops::Range;
use std::sync::Arc;

use anec_mil::{DataType, Function, FunctionBuilder, Opset, TensorData, TensorType, Value, ValueData, Var};
use anec_schemas::contract::coreml_llm_cli::{MASKED, names};
use half::f16;

use crate::graph::families::conformity::Inputs;
use crate::graph::families::stateful::embeddings;
use crate::graph::layers::mask;
use crate::graph::{Graph, GraphError, ModelSettings, int};
use crate::weights::weight_file::WeightFile;

/// Builds the function over so many tokens.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    tokens: u64,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let (ids, length) = (inputs.get(names::INPUT_IDS), inputs.get(names::FULL_SEQUENCE_LENGTH));
    let rows = embeddings::rows(&mut graph.ops, settings, graph.weights, "embedded_tokens", ids)?;
    let columns = graph.ops.transpose("embedded_tokens_channels_first", &rows, &[0, 2, 1])?;
    let [height, width] = graph.square();
    let square = [1, int(graph.plan().hidden_size as u64), height, width];
    let x = graph.ops.reshape(names::X, &columns, &square)?;

    let tokens = int(graph.tokens);
    let offsets = graph.integers("position_offsets", &[graph.tokens], -tokens..0);
    let mut positions = graph.ops.add("positions", length, &offsets)?;
    if graph.tokens == graph.settings.context_length {
        // Padding stands before the first token, where there are no rotations.
        let first = graph.ops.constant("first_position", Value::int32(0));
        positions = graph.ops.maximum("positions_of_tokens", &positions, &first)?;
    }
    let mut outputs = vec![x];
    let rotations = graph.rotation_rows("cos_rows_", "sin_rows_", &positions)?;
    for (name, rows) in [names::COS, names::SIN].into_iter().zip(rotations) {
        let turned = graph.ops.transpose(&format!("{name}_columns"), &rows, &[0, 1, 3, 2])?;
        outputs.push(graph.ops.squeeze(name, &turned, &[0, 1])?);
    }
    outputs.push(graph.block_mask(length)?);
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}

/// Elements from which on coremltools stores integers in the weight file, where the operation set knows such.
///
/// # Source
/// `should_use_weight_file` of coremltools' `backend/mil/helper.py`.
const STORED: usize = 10;

impl Graph<'_> {
    /// A constant of integers.
    fn integers(&mut self, name: &str, shape: &[u64], numbers: Range<i32>) -> Var {
        let ty = TensorType::fixed(DataType::Int32, shape);
        let value = if self.settings.opset >= Opset::Ios18 && numbers.len() >= STORED {
            let table = format!("{name}_{}", numbers.len());
            self.weights.generated(&table, ty, || numbers.flat_map(i32::to_le_bytes).collect())
        } else {
            Value { ty: ty.into(), data: ValueData::Tensor(TensorData::Ints(numbers.collect())) }
        };
        self.ops.constant(name, value)
    }

    /// # Shapes
    /// `length: int32 [1]`; the result is fp16 `[1, context_length, 1, tokens]`.
    fn block_mask(&mut self, length: &Var) -> Result<Var, GraphError> {
        let (context, tokens) = (self.settings.context_length, self.tokens);
        let window = mask::windows(self.plan(), context).first().copied().unwrap_or(context);
        let band = TensorType::fixed(DataType::Float16, &[1, context, 1, tokens]);
        let name = format!("mask_band_{tokens}");
        let band = self.weights.generated(&name, band, || band_table(context, tokens, window));
        let band = self.ops.constant(&name, band);
        let index = self.integers("context_rows", &[1, context, 1, 1], 0..int(context));
        let whole = self.ops.constant("context_length", Value::int32s(&[int(context)]));
        let first = self.ops.sub("first_row", &whole, length)?;
        let visible = self.ops.greater_equal("row_is_there", &index, &first)?;
        let visible = self.ops.cast("row_is_there_fp16", &visible, DataType::Float16)?;
        let one = self.ops.constant("one", Value::fp16(f16::ONE));
        let hidden = self.ops.sub("row_is_not_there", &visible, &one)?;
        let masked = self.ops.constant("masked", Value::fp16(f16::from_f32(-MASKED)));
        let hidden = self.ops.mul("rows_masked", &hidden, &masked)?;
        Ok(self.ops.add(names::MASK, &band, &hidden)?)
    }
}

/// Which row of the context each token of the block attends to, `[context, tokens]`: those up to its own, no further back
/// than the window.
fn band_table(context: u64, tokens: u64, window: u64) -> Arc<[u8]> {
    let attends = |row: u64, token: u64| {
        let own = context - tokens + token;
        row <= own && own < row + window
    };
    let masked = f16::from_f32(MASKED);
    let entries =
        (0..context).flat_map(|row| (0..tokens).map(move |token| if attends(row, token) { f16::ZERO } else { masked }));
    entries.flat_map(f16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_attends_to_the_rows_of_its_window_up_to_its_own() {
        let table = band_table(6, 2, 3);
        let visible: Vec<bool> =
            table.as_chunks::<2>().0.iter().map(|pair| f16::from_le_bytes(*pair) == f16::ZERO).collect();
        let of_token = |token: usize| visible.iter().skip(token).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!(of_token(0), [false, false, true, true, true, false]);
        assert_eq!(of_token(1), [false, false, false, true, true, true]);
    }
}
