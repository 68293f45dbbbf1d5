//! The gated MLP: `down(silu(gate(x)) * up(x))`.

use anec_mil::Var;

use crate::decoder_plan::LayerWeight;
use crate::graphs::{Graph, GraphError};

impl Graph<'_> {
    /// # Shapes
    /// `x: [1, hidden_size, 1, tokens]`, and so is the result.
    pub(crate) fn mlp(&mut self, layer: usize, x: &Var) -> Result<Var, GraphError> {
        let bias = self.plan().mlp_bias;
        let gate = self.projection(layer, LayerWeight::GateProj, bias.then_some(LayerWeight::GateProjBias), x)?;
        let up = self.projection(layer, LayerWeight::UpProj, bias.then_some(LayerWeight::UpProjBias), x)?;
        let activated = self.ops.silu(&format!("layers_{layer}_mlp_silu"), &gate)?;
        let product = self.ops.mul(&format!("layers_{layer}_mlp_product"), &activated, &up)?;
        self.projection(layer, LayerWeight::DownProj, bias.then_some(LayerWeight::DownProjBias), &product)
    }
}
