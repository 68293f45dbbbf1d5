//! The gated MLP: `down(activation(gate(x)) * up(x))`.
//!
//! Where it has more channels than the chip takes, it is the sum of MLPs over parts of them.

use std::ops::Range;

use anec_mil::Var;

use super::linear::Linear;
use crate::graph::{Graph, GraphError};
use crate::model::decoder_plan::{Activation, WeightPath};
use crate::weights::recipe::WeightKind;

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
        Ok(sum.expect("an MLP has at least one part"))
    }

    /// The MLP over some of its channels. Names end in `suffix`.
    fn mlp_part(&mut self, layer: usize, x: &Var, channels: &Range<u64>, suffix: &str) -> Result<Var, GraphError> {
        let plan = self.plan();
        let shape = [plan.hidden_size as u64, plan.intermediate_size as u64];
        let gate = self.mlp_rows(layer, "mlp.gate_proj", x, channels, suffix)?;
        let up = self.mlp_rows(layer, "mlp.up_proj", x, channels, suffix)?;
        let activated = self.activation(&format!("layers_{layer}_mlp"), suffix, &gate)?;
        let product = self.ops.mul(&format!("layers_{layer}_mlp_product{suffix}"), &activated, &up)?;
        let rows = self.matrix(&WeightPath::weight(layer, "mlp.down_proj"), shape).with_columns(channels);
        // The sum has one bias.
        let biased = plan.mlp_bias && channels.start == 0;
        let bias = biased.then(|| self.vector(&WeightPath::bias(layer, "mlp.down_proj"), shape[0]));
        let down = Linear { label: "down_proj", rows, bias, kind: WeightKind::Layer };
        self.linear(&format!("layers_{layer}_down_proj{suffix}"), &product, &down)
    }

    /// Some output channels of a projection of the MLP.
    fn mlp_rows(
        &mut self,
        layer: usize,
        module: &'static str,
        x: &Var,
        channels: &Range<u64>,
        suffix: &str,
    ) -> Result<Var, GraphError> {
        let plan = self.plan();
        let (inputs, outputs) = (plan.hidden_size as u64, plan.intermediate_size as u64);
        let rows = self.matrix(&WeightPath::weight(layer, module), [outputs, inputs]).with_rows(channels);
        let bias = plan.mlp_bias.then(|| self.vector(&WeightPath::bias(layer, module), outputs).with_rows(channels));
        let label = super::linear::last_name(module);
        let linear = Linear { label, rows, bias, kind: WeightKind::Layer };
        self.linear(&format!("layers_{layer}_{label}{suffix}"), x, &linear)
    }

    fn activation(&mut self, prefix: &str, suffix: &str, x: &Var) -> Result<Var, GraphError> {
        Ok(match self.plan().activation {
            Activation::Silu => self.ops.silu(&format!("{prefix}_silu{suffix}"), x)?,
            Activation::GeluTanh => self.ops.gelu_tanh(&format!("{prefix}_gelu{suffix}"), x)?,
        })
    }
}
