//! What a model does to the product of its head.

use anec_mil::Var;

use crate::graph::{Graph, GraphError};

impl Graph<'_> {
    /// Scaled and bounded as the plan says.
    ///
    /// # Shapes
    /// Those of `x`, whatever they are.
    pub(crate) fn logits(&mut self, name: &str, x: &Var) -> Result<Var, GraphError> {
        let plan = self.plan();
        let scaled = self.scaled(&format!("{name}_multiplied"), x, plan.logit_scale)?;
        self.softcap(&format!("{name}_capped"), &scaled, plan.logit_softcap)
    }
}
