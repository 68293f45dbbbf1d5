//! A state that is written before attention: all that is attended to is read from it again.

use anec_mil::Var;

use super::state::{State, Write};
use super::{Attend, Cached, KvCache};
use crate::graph::{Graph, GraphError};

/// Writes, then attends.
pub(super) struct Early<W> {
    /// The state.
    pub(super) state: State,
    /// How it is written.
    pub(super) write: W,
}

impl<W: Write> KvCache for Early<W> {
    fn attend(
        &self,
        graph: &mut Graph<'_>,
        layer: usize,
        prefix: &str,
        key: &Var,
        value: &Var,
        attend: &mut Attend<'_>,
    ) -> Result<Var, GraphError> {
        let [key_row, value_row] = self.state.shape.rows(layer);
        self.state.write(graph, &format!("{prefix}_key_cache"), key_row, key, &self.write)?;
        let content = self.state.write(graph, &format!("{prefix}_value_cache"), value_row, value, &self.write)?;
        let keys = self.state.row(graph, &format!("{prefix}_keys"), &content, key_row)?;
        let values = self.state.row(graph, &format!("{prefix}_values"), &content, value_row)?;
        attend(graph, &Cached { keys, values, past: None })
    }
}
