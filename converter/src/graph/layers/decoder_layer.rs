//! One layer of a decoder: attention and MLP, each with its norms, added to the residual.

use std::fmt;
use std::ops::Range;

use anec_mil::{Value, Var};
use half::f16;

use super::attention::AttentionInputs;
use crate::graph::{Graph, GraphError};
use crate::model::decoder_plan::WeightPath;

/// How much of a layer is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerPart {
    /// All of it.
    Whole,
    /// Attention only: its MLP has no reader.
    Attention,
}

/// Builds a layer that no other architecture has, instead of [`Graph::decoder_layer`].
///
/// It takes the layer's number, `x: [1, hidden_size, 1, tokens]`, what all layers share, and how much is wanted; the result
/// has the shape of `x`. It is made of what `graph/layers` has, besides what is its own.
#[derive(Clone, Copy)]
pub struct LayerHook(pub(crate) BuildLayer);

type BuildLayer = fn(&mut Graph<'_>, usize, &Var, &AttentionInputs, LayerPart) -> Result<Var, GraphError>;

impl fmt::Debug for LayerHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerHook")
    }
}

impl Graph<'_> {
    /// These layers, one after the other; of the model's last layer `last`.
    ///
    /// # Shapes
    /// `x: [1, hidden_size, 1, tokens]`, and so is the result, which is not normalized.
    pub(crate) fn layers(
        &mut self,
        layers: &Range<usize>,
        x: &Var,
        inputs: &AttentionInputs,
        last: LayerPart,
    ) -> Result<Var, GraphError> {
        let mut x = x.clone();
        for layer in layers.clone() {
            let is_last = layer + 1 == self.plan().num_hidden_layers;
            x = self.layer(layer, &x, inputs, if is_last { last } else { LayerPart::Whole })?;
        }
        Ok(x)
    }

    /// Any layer, by the architecture's hook where it has one.
    ///
    /// # Shapes
    /// `x: [1, hidden_size, 1, tokens]`, and so is the result.
    pub(crate) fn layer(
        &mut self,
        layer: usize,
        x: &Var,
        inputs: &AttentionInputs,
        part: LayerPart,
    ) -> Result<Var, GraphError> {
        match self.settings.layer_hook {
            Some(LayerHook(build)) => build(self, layer, x, inputs, part),
            None => self.decoder_layer(layer, x, inputs, part),
        }
    }

    /// A layer as the plan says.
    pub(crate) fn decoder_layer(
        &mut self,
        layer: usize,
        x: &Var,
        inputs: &AttentionInputs,
        part: LayerPart,
    ) -> Result<Var, GraphError> {
        let prefix = format!("layers_{layer}");
        let plan = self.plan();
        let norms = plan.norm_placement.norms();
        let normed = self.layer_norm(layer, norms.before_attention, x, plan.stream_norm_eps)?;
        let attention = self.attention(layer, &normed, inputs)?;
        let attention = self.layer_norm(layer, norms.after_attention, &attention, plan.rms_norm_eps)?;
        let x = self.add_residual(&format!("{prefix}_after_attention"), x, &attention)?;
        if part == LayerPart::Attention {
            return Ok(x);
        }
        let normed = self.layer_norm(layer, norms.before_mlp, &x, plan.stream_norm_eps)?;
        let mlp = self.mlp(layer, &normed)?;
        let mlp = self.layer_norm(layer, norms.after_mlp, &mlp, plan.rms_norm_eps)?;
        self.add_residual(&format!("{prefix}_after_mlp"), &x, &mlp)
    }

    /// A norm over the channels between layers, where the layer has it.
    fn layer_norm(
        &mut self,
        layer: usize,
        module: Option<&'static str>,
        x: &Var,
        epsilon: f64,
    ) -> Result<Var, GraphError> {
        match module {
            Some(module) => {
                let weight = WeightPath::weight(layer, module);
                self.rms_norm(&format!("layers_{layer}_{module}"), x, &weight, 1, epsilon)
            }
            None => Ok(x.clone()),
        }
    }

    fn add_residual(&mut self, name: &str, x: &Var, branch: &Var) -> Result<Var, GraphError> {
        let branch = self.scaled(&format!("{name}_multiplied"), branch, self.plan().residual_multiplier)?;
        Ok(self.ops.add(name, x, &branch)?)
    }

    /// A value times a number; the value itself where the number is 1.
    pub(crate) fn scaled(&mut self, name: &str, x: &Var, factor: f64) -> Result<Var, GraphError> {
        if factor.total_cmp(&1.0).is_eq() {
            return Ok(x.clone());
        }
        let factor = self.ops.constant(&format!("{name}_factor"), Value::fp16(f16::from_f64(factor)));
        Ok(self.ops.mul(name, x, &factor)?)
    }
}
