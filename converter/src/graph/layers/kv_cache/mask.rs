//! A state written by masks, which do without a place that is known when the call is made: a row of the state becomes
//! `row * keep + placed`, where `keep` is 0 at the new positions and `placed` has the new rows there, and goes back whole.

use std::sync::Arc;

use anec_mil::{DataType, SliceMasks, TensorType, Value, Var};
use half::f16;

use super::state::{Write, read_row, update_masks};
use crate::graph::{Graph, GraphError, int};

/// Which positions are new.
pub(super) struct ByMask {
    /// 1 where the position of the first axis is that of the token, fp16 `[1, 1, context_length, tokens]`.
    placement: Var,
    /// 0 at the positions of this call, else 1, fp16 `[1, 1, context_length, 1]`.
    keep: Var,
}

impl ByMask {
    pub(super) fn new(graph: &mut Graph<'_>, current_pos: &Var) -> Result<Self, GraphError> {
        let longest = graph.settings.tables.positions;
        let ty = TensorType::fixed(DataType::Int32, &[longest]);
        let table = graph.weights.generated("cache_positions", ty, || ascending(longest));
        let table = graph.ops.constant("cache_positions", table);
        let rows = first_positions(graph, "cache_rows", &table, graph.settings.context_length)?;
        let rows = graph.ops.expand_dims("cache_rows_column", &rows, &[1])?;
        let positions = match graph.tokens {
            1 => current_pos.clone(),
            tokens => {
                let offsets = first_positions(graph, "token_offsets", &table, tokens)?;
                graph.ops.add("token_positions", current_pos, &offsets)?
            }
        };
        let matches = graph.ops.equal("cache_matches", &rows, &positions)?;
        let matches = graph.ops.cast("cache_matches_fp16", &matches, DataType::Float16)?;
        let placement = graph.ops.expand_dims("cache_placement", &matches, &[0, 1])?;
        let taken = match graph.tokens {
            1 => placement.clone(),
            _ => graph.ops.reduce_max("cache_taken", &placement, &[3], true)?,
        };
        let one = graph.ops.constant("one", Value::fp16(f16::ONE));
        let keep = graph.ops.sub("cache_keep", &one, &taken)?;
        Ok(Self { placement, keep })
    }
}

impl Write for ByMask {
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError> {
        let old = read_row(graph, &format!("{name}_old"), before, row)?;
        let kept = graph.ops.mul(&format!("{name}_kept"), &old, &self.keep)?;
        let placed = match graph.tokens {
            1 => graph.ops.mul(&format!("{name}_placed"), &self.placement, update)?,
            _ => graph.ops.matmul(&format!("{name}_placed"), &self.placement, update, false, false)?,
        };
        let new = graph.ops.add(&format!("{name}_new"), &kept, &placed)?;
        let begin = graph.ops.constant(&format!("{name}_begin"), Value::int32s(&[int(row), 0, 0, 0]));
        let end = graph.ops.constant(&format!("{name}_end"), Value::int32s(&[int(row + 1), 0, 0, 0]));
        let masks = update_masks([false, true, true, true]);
        Ok(graph.ops.slice_update(&format!("{name}_updated"), before, &new, &begin, &end, &masks)?)
    }
}

/// The first `count` elements of a table of positions.
fn first_positions(graph: &mut Graph<'_>, name: &str, table: &Var, count: u64) -> Result<Var, GraphError> {
    if count == graph.settings.tables.positions {
        return Ok(table.clone());
    }
    Ok(graph.ops.slice_by_index(name, table, &[0], &[int(count)], &SliceMasks::end(&[false]))?)
}

/// The numbers from 0 as int32.
fn ascending(count: u64) -> Arc<[u8]> {
    (0..count).flat_map(|position| int(position).to_le_bytes()).collect()
}
