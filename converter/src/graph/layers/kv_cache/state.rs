//! The cache as one Core ML state for the whole model, written at the current position.
//!
//! # Shapes
//! The state is `[2 * num_hidden_layers, num_key_value_heads, context_length, head_dim]`: keys of layer `l` in row `l`,
//! values in row `num_hidden_layers + l`. Every chunk and function declares all of it, because one state object serves
//! them all.
//!
//! There are two ways to write: [`slice`](super::slice) and [`mask`](super::mask). What is attended to is always read again
//! after the write.

use std::rc::Rc;

use anec_mil::{SliceMasks, Var};

use super::mask::ByMask;
use super::slice::BySlice;
use super::{Cached, KvCache};
use crate::graph::{Graph, GraphError, int};
use crate::options::KvWrite;

/// The cache in a state, written as the settings say from `current_pos` on, int32 `[1]`.
pub(crate) fn state_cache(
    graph: &mut Graph<'_>,
    state: &Var,
    current_pos: &Var,
) -> Result<Rc<dyn KvCache>, GraphError> {
    let state = state.clone();
    Ok(match graph.settings.kv_write {
        KvWrite::Slice => Rc::new(StateCache { state, write: BySlice::new(graph, current_pos)? }),
        KvWrite::Mask => Rc::new(StateCache { state, write: ByMask::new(graph, current_pos)? }),
    })
}

/// How new rows get into a state.
pub(super) trait Write {
    /// The content of the state with `update` in one of its rows, given its content `before`. Names of ops start with
    /// `name`.
    ///
    /// # Shapes
    /// `update: [1, num_key_value_heads, tokens, head_dim]`; the result has the shape of the state.
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError>;
}

/// A cache in a state.
struct StateCache<W> {
    /// The state.
    state: Var,
    /// How it is written.
    write: W,
}

impl<W: Write> KvCache for StateCache<W> {
    fn update(
        &self,
        graph: &mut Graph<'_>,
        layer: usize,
        prefix: &str,
        key: &Var,
        value: &Var,
    ) -> Result<Cached, GraphError> {
        let (key_row, value_row) = (layer as u64, (graph.plan().num_hidden_layers + layer) as u64);
        self.write(graph, &format!("{prefix}_key_cache"), key_row, key)?;
        let cache = self.write(graph, &format!("{prefix}_value_cache"), value_row, value)?;
        let keys = read_row(graph, &format!("{prefix}_keys"), &cache, key_row)?;
        let values = read_row(graph, &format!("{prefix}_values"), &cache, value_row)?;
        Ok(Cached { keys, values, past: None })
    }
}

impl<W: Write> StateCache<W> {
    /// Writes a row of the state and gives the state as it is then.
    fn write(&self, graph: &mut Graph<'_>, name: &str, row: u64, update: &Var) -> Result<Var, GraphError> {
        let before = graph.ops.read_state(&format!("{name}_before"), &self.state)?;
        let updated = self.write.updated(graph, name, &before, row, update)?;
        Ok(graph.ops.update_state(name, &self.state, &updated)?)
    }
}

/// One row of the state: `[1, num_key_value_heads, context_length, head_dim]`.
pub(super) fn read_row(graph: &mut Graph<'_>, name: &str, state: &Var, row: u64) -> Result<Var, GraphError> {
    let [_, heads, positions, head_dim] = state_shape(graph).map(int);
    let begin = [int(row), 0, 0, 0];
    let end = [int(row + 1), heads, positions, head_dim];
    Ok(graph.ops.slice_by_index(name, state, &begin, &end, &SliceMasks::end(&[false, true, true, true]))?)
}

/// Masks of an update of a state: no axis begins at its start by mask, and these end at their end.
pub(super) fn update_masks(end_mask: [bool; 4]) -> SliceMasks {
    SliceMasks { begin_mask: vec![false; 4], end_mask: end_mask.to_vec(), squeeze_mask: vec![false; 4] }
}

fn state_shape(graph: &Graph<'_>) -> [u64; 4] {
    let plan = graph.plan();
    let rows = 2 * plan.num_hidden_layers as u64;
    [rows, plan.num_key_value_heads as u64, graph.settings.context_length, plan.head_dim as u64]
}
