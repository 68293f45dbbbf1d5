//! A state that is written after attention: for calls whose later tokens take the places of positions that their earlier
//! tokens still attend to. Attention goes over what the state held before, and over the call's own keys and values.

use anec_mil::Var;

use super::state::{State, Write};
use super::{Attend, Cached, KvCache, Past, PastLayout};
use crate::graph::{Graph, GraphError};

/// Attends, then writes.
pub(super) struct Late<W> {
    /// The state.
    pub(super) state: State,
    /// How it is written.
    pub(super) write: W,
}

impl<W: Write> KvCache for Late<W> {
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
        let content = self.state.read(graph, &format!("{prefix}_past"))?;
        let past = Past {
            keys: self.state.row(graph, &format!("{prefix}_past_keys"), &content, key_row)?,
            values: self.state.row(graph, &format!("{prefix}_past_values"), &content, value_row)?,
            layout: PastLayout::ByPosition,
            positions: self.state.shape.positions,
        };
        let result = attend(graph, &Cached { keys: key.clone(), values: value.clone(), past: Some(past) })?;
        self.state.write(graph, &format!("{prefix}_key_cache"), key_row, key, &self.write)?;
        self.state.write(graph, &format!("{prefix}_value_cache"), value_row, value, &self.write)?;
        Ok(result)
    }
}
