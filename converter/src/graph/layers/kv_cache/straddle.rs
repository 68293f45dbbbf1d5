//! A batch that may begin before a window is full and end behind it: what was there moves by as many positions as there are
//! too many, and the new rows follow it.
//!
//! Moving by a number that is known at run time only is a product with a matrix of zeros and ones. Functions have it where
//! batches do not divide the window: then a client's batches run over its edge.

use std::sync::Arc;

use anec_mil::{DataType, TensorType, Var};

use super::mask::ByMask;
use super::state::{State, Write};
use super::token_rows::first_numbers;
use crate::graph::{Graph, GraphError, int};

/// Moves and writes.
pub(super) struct Straddle {
    /// 1 where the position of the first axis gets what is at that of the second, fp16 `[1, 1, positions, positions]`.
    moved: Var,
    /// Where the new rows go.
    placed: ByMask,
}

impl Straddle {
    /// For a call from `current_pos` on, int32 `[1]`, before `positions`.
    pub(super) fn new(graph: &mut Graph<'_>, positions: u64, current_pos: &Var) -> Result<Self, GraphError> {
        let ty = TensorType::fixed(DataType::Int32, &[positions]);
        let tokens = graph.tokens;
        let table = graph.weights.generated(&format!("window_excess_{tokens}"), ty, || excess(positions, tokens));
        let table = graph.ops.constant("window_excess_table", table);
        let index = graph.gather_index("window_excess_index", current_pos, positions)?;
        let excess = graph.ops.gather("window_excess", &table, &index, 0)?;
        let first = graph.ops.sub("window_first", current_pos, &excess)?;
        let offsets = first_numbers(graph, "window_token_offsets", tokens)?;
        let places = graph.ops.add("window_places", &first, &offsets)?;
        let placed = ByMask::at(graph, "window", positions, &places)?;
        let columns = first_numbers(graph, "window_columns", positions)?;
        let sources = graph.ops.add("window_sources", &columns, &excess)?;
        let sources = graph.ops.expand_dims("window_sources_column", &sources, &[1])?;
        let moved = graph.ops.equal("window_moves", &sources, &columns)?;
        let moved = graph.ops.cast("window_moves_fp16", &moved, DataType::Float16)?;
        let moved = graph.ops.expand_dims("window_moved", &moved, &[0, 1])?;
        Ok(Self { moved, placed })
    }
}

impl Write for Straddle {
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        state: &State,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError> {
        let old = state.row(graph, &format!("{name}_old"), before, row)?;
        let moved = graph.ops.matmul(&format!("{name}_moved"), &self.moved, &old, false, false)?;
        let kept = graph.ops.mul(&format!("{name}_kept"), &moved, &self.placed.keep)?;
        let placed = self.placed.placed(graph, name, update)?;
        let new = graph.ops.add(&format!("{name}_new"), &kept, &placed)?;
        State::with_row(graph, name, before, row, &new)
    }
}

/// By how many positions a batch from each position on is too long for the window, as int32.
fn excess(positions: u64, tokens: u64) -> Arc<[u8]> {
    (0..positions).flat_map(|position| int((position + tokens).saturating_sub(positions)).to_le_bytes()).collect()
}
