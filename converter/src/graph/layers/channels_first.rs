//! Between the clients' `[1, tokens, hidden_size]` and the `[1, hidden_size, 1, tokens]` inside.

use anec_mil::Var;

use crate::graph::{Graph, GraphError};

impl Graph<'_> {
    /// `[1, tokens, hidden_size]` to `[1, hidden_size, 1, tokens]`.
    pub(crate) fn enter_channels_first(&mut self, name: &str, x: &Var) -> Result<Var, GraphError> {
        let transposed = self.ops.transpose(&format!("{name}_transposed"), x, &[0, 2, 1])?;
        Ok(self.ops.expand_dims(name, &transposed, &[2])?)
    }

    /// `[1, hidden_size, 1, tokens]` to `[1, tokens, hidden_size]`, under exactly this name.
    pub(crate) fn leave_channels_first(&mut self, name: &str, x: &Var) -> Result<Var, GraphError> {
        let squeezed = self.ops.squeeze(&format!("{name}_squeezed"), x, &[2])?;
        Ok(self.ops.transpose(name, &squeezed, &[0, 2, 1])?)
    }
}
