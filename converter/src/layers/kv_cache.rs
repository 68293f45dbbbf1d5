//! The KV cache: one state for the whole model, written in place at the current position.
//!
//! # Shapes
//! The state is `[2 * num_hidden_layers, num_key_value_heads, context_length, head_dim]`: keys of layer `l` in row `l`,
//! values in row `num_hidden_layers + l`. Every chunk and function declares all of it, because one state object serves
//! them all.

use anec_mil::{DataType, SliceMasks, TensorType, Value, Var};

use crate::graphs::{Graph, GraphError, int};

/// Name of the state.
///
/// # Source
/// The state input of every chunk that ANEMLL publishes.
pub(crate) const STATE_NAME: &str = "model_model_kv_cache_0";

/// Where this call writes.
pub(crate) struct CachePosition {
    /// `current_pos`, int32 `[1]`.
    start: Var,
    /// `current_pos + tokens`, int32 `[1]`.
    end: Var,
}

impl Graph<'_> {
    /// The type of the state.
    pub(crate) fn state_type(&self) -> TensorType {
        let plan = self.plan();
        let rows = 2 * plan.num_hidden_layers as u64;
        let shape = [rows, plan.num_key_value_heads as u64, self.settings.context_length, plan.head_dim as u64];
        TensorType::fixed(DataType::Float16, &shape)
    }

    /// The rows of the cache that this call writes.
    pub(crate) fn cache_position(&mut self, current_pos: &Var) -> Result<CachePosition, GraphError> {
        let tokens = self.ops.constant("tokens", Value::int32(int(self.tokens)));
        let end = self.ops.add("current_pos_end", current_pos, &tokens)?;
        Ok(CachePosition { start: current_pos.clone(), end })
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
        let constant = |graph: &mut Self, part: &str, value: u64| {
            graph.ops.constant(&format!("{name}_{part}"), Value::int32s(&[int(value)]))
        };
        let zero = constant(self, "zero", 0);
        let first_row = constant(self, "row", row);
        let last_row = constant(self, "row_end", row + 1);
        let begin = self.ops.concat(&format!("{name}_begin"), &[&first_row, &zero, &position.start, &zero], 0)?;
        let end = self.ops.concat(&format!("{name}_end"), &[&last_row, &zero, &position.end, &zero], 0)?;
        let masks = SliceMasks {
            begin_mask: vec![false; 4],
            end_mask: vec![false, true, false, true],
            squeeze_mask: vec![false; 4],
        };
        let updated = self.ops.slice_update(&format!("{name}_updated"), &before, update, &begin, &end, &masks)?;
        Ok(self.ops.update_state(name, state, &updated)?)
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
