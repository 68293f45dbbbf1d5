//! States: how rows get into one, and how they are read again.

use anec_mil::{SliceMasks, Var};

use super::states::StateShape;
use crate::graph::{Graph, GraphError, int};

/// A state of a function.
#[derive(Clone)]
pub(super) struct State {
    /// The function's parameter.
    pub(super) var: Var,
    /// What it keeps.
    pub(super) shape: StateShape,
}

/// How new rows get into a state.
pub(super) trait Write {
    /// The content of `state` with `update` in one of its rows, given its content `before`. Names of ops start with `name`.
    ///
    /// # Shapes
    /// `update: [1, num_key_value_heads, tokens, head_channels]`; the result has the shape of the state.
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        state: &State,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError>;
}

impl State {
    /// Its content.
    pub(super) fn read(&self, graph: &mut Graph<'_>, name: &str) -> Result<Var, GraphError> {
        Ok(graph.ops.read_state(name, &self.var)?)
    }

    /// Writes a row and gives the content as it is then.
    pub(super) fn write(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        row: u64,
        update: &Var,
        write: &impl Write,
    ) -> Result<Var, GraphError> {
        let before = self.read(graph, &format!("{name}_before"))?;
        let updated = write.updated(graph, name, self, &before, row, update)?;
        Ok(graph.ops.update_state(name, &self.var, &updated)?)
    }

    /// One row of its content: `[1, num_key_value_heads, positions, head_channels]`.
    pub(super) fn row(&self, graph: &mut Graph<'_>, name: &str, content: &Var, row: u64) -> Result<Var, GraphError> {
        let [_, heads, positions, head_dim] = self.shape.axes(graph.plan()).map(int);
        let begin = [int(row), 0, 0, 0];
        let end = [int(row + 1), heads, positions, head_dim];
        Ok(graph.ops.slice_by_index(name, content, &begin, &end, &SliceMasks::end(&[false, true, true, true]))?)
    }

    /// Puts a row in its place whole.
    pub(super) fn with_row(
        graph: &mut Graph<'_>,
        name: &str,
        content: &Var,
        row: u64,
        new: &Var,
    ) -> Result<Var, GraphError> {
        let begin = graph.ops.constant(&format!("{name}_begin"), anec_mil::Value::int32s(&[int(row), 0, 0, 0]));
        let end = graph.ops.constant(&format!("{name}_end"), anec_mil::Value::int32s(&[int(row + 1), 0, 0, 0]));
        let masks = update_masks([false, true, true, true]);
        Ok(graph.ops.slice_update(&format!("{name}_updated"), content, new, &begin, &end, &masks)?)
    }

    /// Writes back what a corner of the state holds: for functions none of whose layers has its keys there, because every
    /// function of a model must use every state.
    pub(super) fn touch(&self, graph: &mut Graph<'_>, name: &str) -> Result<(), GraphError> {
        let content = self.read(graph, &format!("{name}_before"))?;
        let end = [1, 1, 1, int(self.shape.head_channels)];
        let ends = SliceMasks::end(&[false, false, false, true]);
        let corner = graph.ops.slice_by_index(&format!("{name}_corner"), &content, &[0, 0, 0, 0], &end, &ends)?;
        let begin = graph.ops.constant(&format!("{name}_begin"), anec_mil::Value::int32s(&[0, 0, 0, 0]));
        let end = graph.ops.constant(&format!("{name}_end"), anec_mil::Value::int32s(&[1, 1, 1, 0]));
        let masks = update_masks([false, false, false, true]);
        let same = graph.ops.slice_update(&format!("{name}_updated"), &content, &corner, &begin, &end, &masks)?;
        graph.ops.update_state(name, &self.var, &same)?;
        Ok(())
    }
}

/// Masks of an update of a state: no axis begins at its start by mask, and these end at their end.
pub(super) fn update_masks(end_mask: [bool; 4]) -> SliceMasks {
    SliceMasks { begin_mask: vec![false; 4], end_mask: end_mask.to_vec(), squeeze_mask: vec![false; 4] }
}
