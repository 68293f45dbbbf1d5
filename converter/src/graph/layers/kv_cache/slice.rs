//! A state written by slices: moves only the new rows, to a place that is known when the call is made.

use anec_mil::{Value, Var};

use super::state::{State, Write, update_masks};
use crate::graph::{Graph, GraphError, int};

/// Positions from `start` to before `end`.
pub(super) struct BySlice {
    /// The first position of the state that is written, int32 `[1]`.
    start: Var,
    /// `start + tokens`, int32 `[1]`.
    end: Var,
}

impl BySlice {
    /// From `start` on, int32 `[1]`; names of ops start with `name`.
    pub(super) fn new(graph: &mut Graph<'_>, name: &str, start: &Var) -> Result<Self, GraphError> {
        let tokens = graph.ops.constant(&format!("{name}_tokens"), Value::int32(int(graph.tokens)));
        let end = graph.ops.add(&format!("{name}_end"), start, &tokens)?;
        Ok(Self { start: start.clone(), end })
    }
}

impl Write for BySlice {
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        _state: &State,
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
