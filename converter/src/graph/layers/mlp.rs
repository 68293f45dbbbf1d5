//! The gated MLP: `down(silu(gate(x)) * up(x))`.
//!
//! Where it has more channels than the chip takes, it is the sum of MLPs over parts of them.

use std::ops::Range;

use anec_mil::Var;

use super::linear::Linear;
use crate::graph::{Graph, GraphError};
use crate::model::decoder_plan::LayerWeight;
use crate::weights::recipe::WeightKind;
use crate::weights::rows::Rows;

impl Graph<'_> {
    /// # Shapes
    /// `x: [1, hidden_size, 1, tokens]`, and so is the result.
    pub(crate) fn mlp(&mut self, layer: usize, x: &Var) -> Result<Var, GraphError> {
        let name = format!("layers_{layer}_mlp");
        let parts = self.settings.splitter.mlp_parts(self.plan().intermediate_size as u64);
        let whole = parts.len() < 2;
        let mut sum: Option<Var> = None;
        for (index, channels) in parts.iter().enumerate() {
            let suffix = if whole { String::new() } else { format!("_{index}") };
            let part = self.mlp_part(layer, x, channels, &suffix)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => self.ops.add(&format!("{name}_sum_{index}"), &sum, &part)?,
            });
        }
        Ok(sum.unwrap_or_else(|| x.clone()))
    }

    /// The MLP over some of its channels. Names end in `suffix`.
    fn mlp_part(&mut self, layer: usize, x: &Var, channels: &Range<u64>, suffix: &str) -> Result<Var, GraphError> {
        let gate = self.mlp_rows(layer, LayerWeight::GateProj, LayerWeight::GateProjBias, x, channels, suffix)?;
        let up = self.mlp_rows(layer, LayerWeight::UpProj, LayerWeight::UpProjBias, x, channels, suffix)?;
        let activated = self.ops.silu(&format!("layers_{layer}_mlp_silu{suffix}"), &gate)?;
        let product = self.ops.mul(&format!("layers_{layer}_mlp_product{suffix}"), &activated, &up)?;
        let rows = self.projection_rows(layer, LayerWeight::DownProj).with_columns(channels);
        // The sum has one bias.
        let biased = self.plan().mlp_bias && channels.start == 0;
        let bias = biased.then(|| self.tensor_name(layer, LayerWeight::DownProjBias));
        let down = Linear { rows, bias: bias.as_deref(), kind: WeightKind::Layer };
        self.linear(&format!("layers_{layer}_down_proj{suffix}"), &product, &down)
    }

    /// Some output channels of a projection of the MLP.
    fn mlp_rows(
        &mut self,
        layer: usize,
        weight: LayerWeight,
        bias: LayerWeight,
        x: &Var,
        channels: &Range<u64>,
        suffix: &str,
    ) -> Result<Var, GraphError> {
        let rows = Rows { rows: channels.clone(), ..self.projection_rows(layer, weight) };
        let bias = self.plan().mlp_bias.then(|| self.tensor_name(layer, bias));
        let linear = Linear { rows, bias: bias.as_deref(), kind: WeightKind::Layer };
        self.linear(&format!("layers_{layer}_{}{suffix}", weight.short_name()), x, &linear)
    }
}
