//! A state of a window that is full: every call drops the oldest positions and puts its own at the end.
//!
//! # Source
//! ANEMLL 0.3.5, functions `infer_rotate` and `prefill_rotate` of Gemma 3: the row without its oldest positions and the new
//! ones are joined, and the row is replaced.

use anec_mil::{SliceMasks, Var};

use super::state::{State, Write};
use crate::graph::{Graph, GraphError, int};

/// The oldest out, the newest in.
pub(super) struct Shift;

impl Write for Shift {
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        state: &State,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError> {
        let [_, heads, positions, head_dim] = state.shape.axes(graph.plan());
        let tokens = graph.tokens;
        let end = |length: u64| [1, int(heads), int(length), int(head_dim)];
        let ends = SliceMasks::end(&[true, true, true, true]);
        let new = if tokens < positions {
            let old = state.row(graph, &format!("{name}_old"), before, row)?;
            let begin = [0, 0, int(tokens), 0];
            let kept = graph.ops.slice_by_index(&format!("{name}_kept"), &old, &begin, &end(positions), &ends)?;
            graph.ops.concat(&format!("{name}_new"), &[&kept, update], 2)?
        } else {
            let begin = [0, 0, int(tokens - positions), 0];
            graph.ops.slice_by_index(&format!("{name}_new"), update, &begin, &end(tokens), &ends)?
        };
        State::with_row(graph, name, before, row, &new)
    }
}
