//! A state written by slices: moves only the new rows, to a place that is known when the call is made.

use anec_mil::{Value, Var};

use super::state::{Write, update_masks};
use crate::graph::{Graph, GraphError, int};

/// Positions from `start` to before `end`.
pub(super) struct BySlice {
    /// `current_pos`, int32 `[1]`.
    start: Var,
    /// `current_pos + tokens`, int32 `[1]`.
    end: Var,
}

impl BySlice {
    pub(super) fn new(graph: &mut Graph<'_>, current_pos: &Var) -> Result<Self, GraphError> {
        let tokens = graph.ops.constant("tokens", Value::int32(int(graph.tokens)));
        let end = graph.ops.add("current_pos_end", current_pos, &tokens)?;
        Ok(Self { start: current_pos.clone(), end })
    }
}

impl Write for BySlice {
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError> {
        let mut constant =
            |part: &str, value: u64| graph.ops.constant(&format!("{name}_{part}"), Value::int32s(&[int(value)]));
        let zero = constant("zero", 0);
        let first_row = constant("row", row);
        let last_row = constant("row_end", row + 1);
        let begin = graph.ops.concat(&format!("{name}_begin"), &[&first_row, &zero, &self.start, &zero], 0)?;
        let end = graph.ops.concat(&format!("{name}_end"), &[&last_row, &zero, &self.end, &zero], 0)?;
        let masks = update_masks([false, true, false, true]);
        Ok(graph.ops.slice_update(&format!("{name}_updated"), before, update, &begin, &end, &masks)?)
    }
}
