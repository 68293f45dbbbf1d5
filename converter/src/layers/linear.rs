//! A projection as a 1×1 convolution, its weight plain or palettized.

use anec_mil::Var;

use crate::decoder_plan::{LayerWeight, Part};
use crate::graphs::{Graph, GraphError};
use crate::options::Palette;
use crate::weight_file::{Rows, StoredWeight};

/// A projection of the checkpoint.
pub(crate) struct Linear<'a> {
    /// Which rows of which weight, `[out_channels, in_channels]`.
    pub(crate) rows: Rows,
    /// The bias tensor, if the layer has one, `[out_channels]`.
    pub(crate) bias: Option<&'a str>,
    /// Palette of the weight.
    pub(crate) palette: Option<Palette>,
}

impl Graph<'_> {
    /// Applies a projection.
    ///
    /// # Shapes
    /// `x: [1, in_channels, 1, tokens]`; the result is `[1, out_channels, 1, tokens]`.
    pub(crate) fn linear(&mut self, name: &str, x: &Var, linear: &Linear<'_>) -> Result<Var, GraphError> {
        let out_channels = linear.rows.rows.end - linear.rows.rows.start;
        let shape = [out_channels, linear.rows.columns, 1, 1];
        let weight_name = format!("{name}_weight");
        let weight = match self.weights.weight(&linear.rows, &shape, linear.palette)? {
            StoredWeight::Plain(value) => self.ops.constant(&weight_name, value),
            StoredWeight::Palettized { indices, lut } => {
                self.ops.lut_to_dense(&format!("{weight_name}_palettized"), indices, lut)?
            }
        };
        let bias = linear.bias.map(|tensor| {
            let value = self.weights.vector(tensor, &[out_channels]);
            self.ops.constant(&format!("{name}_bias"), value)
        });
        Ok(self.ops.conv1x1(name, x, &weight, bias.as_ref())?)
    }

    /// Applies a projection of a decoder layer.
    pub(crate) fn projection(
        &mut self,
        layer: usize,
        weight: LayerWeight,
        bias: Option<LayerWeight>,
        x: &Var,
    ) -> Result<Var, GraphError> {
        let spec = self.plan().tensor(Part::Layer { index: layer, weight });
        let [out_channels, in_channels] = [0, 1].map(|axis| spec.shape.get(axis).copied().unwrap_or(1) as u64);
        let bias = bias.map(|bias| self.tensor_name(layer, bias));
        let name = format!("layers_{layer}_{}", weight.short_name());
        let rows = Rows { tensor: spec.name, rows: 0..out_channels, first_column: 0, columns: in_channels };
        self.linear(&name, x, &Linear { rows, bias: bias.as_deref(), palette: self.settings.ffn })
    }

    /// The checkpoint's name of a tensor of a decoder layer.
    pub(crate) fn tensor_name(&self, layer: usize, weight: LayerWeight) -> String {
        self.plan().tensor(Part::Layer { index: layer, weight }).name
    }
}
