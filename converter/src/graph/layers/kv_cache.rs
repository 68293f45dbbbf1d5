//! The KV cache: one state for the whole model, written at the current position.
//!
//! # Shapes
//! The state is `[2 * num_hidden_layers, num_key_value_heads, context_length, head_dim]`: keys of layer `l` in row `l`,
//! values in row `num_hidden_layers + l`. Every chunk and function declares all of it, because one state object serves
//! them all.
//!
//! There are two ways to write. A slice update moves only the new rows, to a place that is known when the call is made.
//! Masks do without such a place: a row of the state becomes `row * keep + placed`, where `keep` is 0 at the new positions
//! and `placed` has the new rows there, and goes back whole. What is attended to is always read again after the write.

use std::sync::Arc;

use anec_mil::{DataType, SliceMasks, TensorType, Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};
use crate::options::KvWrite;

/// Where this call writes.
pub(crate) enum CachePosition {
    /// Rows from `start` to before `end`.
    Slice {
        /// `current_pos`, int32 `[1]`.
        start: Var,
        /// `current_pos + tokens`, int32 `[1]`.
        end: Var,
    },
    /// Rows by mask.
    Mask {
        /// 1 where the position of the first axis is that of the token, fp16 `[1, 1, context_length, tokens]`.
        placement: Var,
        /// 0 at the positions of this call, else 1, fp16 `[1, 1, context_length, 1]`.
        keep: Var,
    },
}

impl Graph<'_> {
    /// The rows of the cache that this call writes.
    pub(crate) fn cache_position(&mut self, current_pos: &Var) -> Result<CachePosition, GraphError> {
        if self.settings.kv_write == KvWrite::Mask {
            return self.cache_masks(current_pos);
        }
        let tokens = self.ops.constant("tokens", Value::int32(int(self.tokens)));
        let end = self.ops.add("current_pos_end", current_pos, &tokens)?;
        Ok(CachePosition::Slice { start: current_pos.clone(), end })
    }

    fn cache_masks(&mut self, current_pos: &Var) -> Result<CachePosition, GraphError> {
        let longest = self.settings.tables.positions;
        let ty = TensorType::fixed(DataType::Int32, &[longest]);
        let table = self.weights.generated("cache_positions", ty, || ascending(longest));
        let table = self.ops.constant("cache_positions", table);
        let rows = self.first_positions("cache_rows", &table, self.settings.context_length)?;
        let rows = self.ops.expand_dims("cache_rows_column", &rows, &[1])?;
        let positions = match self.tokens {
            1 => current_pos.clone(),
            tokens => {
                let offsets = self.first_positions("token_offsets", &table, tokens)?;
                self.ops.add("token_positions", current_pos, &offsets)?
            }
        };
        let matches = self.ops.equal("cache_matches", &rows, &positions)?;
        let matches = self.ops.cast("cache_matches_fp16", &matches, DataType::Float16)?;
        let placement = self.ops.expand_dims("cache_placement", &matches, &[0, 1])?;
        let taken = match self.tokens {
            1 => placement.clone(),
            _ => self.ops.reduce_max("cache_taken", &placement, &[3], true)?,
        };
        let one = self.ops.constant("one", Value::fp16(f16::ONE));
        let keep = self.ops.sub("cache_keep", &one, &taken)?;
        Ok(CachePosition::Mask { placement, keep })
    }

    /// The first `count` elements of a table of positions.
    fn first_positions(&mut self, name: &str, table: &Var, count: u64) -> Result<Var, GraphError> {
        if count == self.settings.tables.positions {
            return Ok(table.clone());
        }
        Ok(self.ops.slice_by_index(name, table, &[0], &[int(count)], &SliceMasks::end(&[false]))?)
    }

    /// Writes this call's keys or values to a row of the state and gives the state as it is then.
    ///
    /// # Shapes
    /// `update: [1, num_key_value_heads, tokens, head_dim]`; the result has the shape of the state.
    pub(crate) fn write_cache(
        &mut self,
        name: &str,
        state: &Var,
        row: u64,
        update: &Var,
        position: &CachePosition,
    ) -> Result<Var, GraphError> {
        let before = self.ops.read_state(&format!("{name}_before"), state)?;
        let updated = match position {
            CachePosition::Slice { start, end } => self.update_slice(name, &before, row, update, [start, end])?,
            CachePosition::Mask { placement, keep } => {
                self.update_row(name, &before, row, update, [placement, keep])?
            }
        };
        Ok(self.ops.update_state(name, state, &updated)?)
    }

    fn update_slice(
        &mut self,
        name: &str,
        before: &Var,
        row: u64,
        update: &Var,
        [start, end]: [&Var; 2],
    ) -> Result<Var, GraphError> {
        let constant = |graph: &mut Self, part: &str, value: u64| {
            graph.ops.constant(&format!("{name}_{part}"), Value::int32s(&[int(value)]))
        };
        let zero = constant(self, "zero", 0);
        let first_row = constant(self, "row", row);
        let last_row = constant(self, "row_end", row + 1);
        let begin = self.ops.concat(&format!("{name}_begin"), &[&first_row, &zero, start, &zero], 0)?;
        let end = self.ops.concat(&format!("{name}_end"), &[&last_row, &zero, end, &zero], 0)?;
        let masks = update_masks([false, true, false, true]);
        Ok(self.ops.slice_update(&format!("{name}_updated"), before, update, &begin, &end, &masks)?)
    }

    fn update_row(
        &mut self,
        name: &str,
        before: &Var,
        row: u64,
        update: &Var,
        [placement, keep]: [&Var; 2],
    ) -> Result<Var, GraphError> {
        let old = self.read_cache(&format!("{name}_old"), before, row)?;
        let kept = self.ops.mul(&format!("{name}_kept"), &old, keep)?;
        let placed = match self.tokens {
            1 => self.ops.mul(&format!("{name}_placed"), placement, update)?,
            _ => self.ops.matmul(&format!("{name}_placed"), placement, update, false, false)?,
        };
        let new = self.ops.add(&format!("{name}_new"), &kept, &placed)?;
        let begin = self.ops.constant(&format!("{name}_begin"), Value::int32s(&[int(row), 0, 0, 0]));
        let end = self.ops.constant(&format!("{name}_end"), Value::int32s(&[int(row + 1), 0, 0, 0]));
        let masks = update_masks([false, true, true, true]);
        Ok(self.ops.slice_update(&format!("{name}_updated"), before, &new, &begin, &end, &masks)?)
    }

    /// One row of the state: `[1, num_key_value_heads, context_length, head_dim]`.
    pub(crate) fn read_cache(&mut self, name: &str, state: &Var, row: u64) -> Result<Var, GraphError> {
        let shape = state.tensor()?.fixed_shape().unwrap_or_default();
        let [_, heads, positions, head_dim] = [0, 1, 2, 3].map(|axis| int(shape.get(axis).copied().unwrap_or(1)));
        let begin = [int(row), 0, 0, 0];
        let end = [int(row + 1), heads, positions, head_dim];
        Ok(self.ops.slice_by_index(name, state, &begin, &end, &SliceMasks::end(&[false, true, true, true]))?)
    }
}

fn update_masks(end_mask: [bool; 4]) -> SliceMasks {
    SliceMasks { begin_mask: vec![false; 4], end_mask: end_mask.to_vec(), squeeze_mask: vec![false; 4] }
}

/// The numbers from 0 as int32.
fn ascending(count: u64) -> Arc<[u8]> {
    (0..count).flat_map(|position| int(position).to_le_bytes()).collect()
}
