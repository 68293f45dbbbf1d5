//! A projection as a 1×1 convolution, its weight plain, palettized or int8.

use anec_mil::Var;

use crate::decoder_plan::{LayerWeight, Part};
use crate::graphs::{Graph, GraphError};
use crate::options::Compression;
use crate::weight_file::{Rows, StoredWeight};

/// A projection of the checkpoint.
pub(crate) struct Linear<'a> {
    /// Which rows of which weight, `[out_channels, in_channels]`.
    pub(crate) rows: Rows,
    /// The bias tensor, if the layer has one, `[out_channels]`.
    pub(crate) bias: Option<&'a str>,
    /// Storage of the weight.
    pub(crate) compression: Option<Compression>,
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
        let (weight, scale) = match self.weights.weight(&linear.rows, &shape, linear.compression)? {
            StoredWeight::Plain(value) => (self.ops.constant(&weight_name, value), None),
            StoredWeight::Palettized { indices, lut, scale } => {
                (self.ops.lut_to_dense(&format!("{weight_name}_palettized"), indices, lut)?, scale)
            }
            StoredWeight::Int8 { data, scale } => {
                let name = format!("{weight_name}_quantized");
                (self.ops.blockwise_shift_scale(&name, data, scale, None)?, None)
            }
        };
        let Some(scale) = scale else {
            let bias = linear.bias.map(|tensor| self.bias(name, tensor, &[out_channels]));
            return Ok(self.ops.conv1x1(name, x, &weight, bias.as_ref())?);
        };
        // Scales of fp16 weights stand behind the convolution: the Neural Engine's compiler aborts where a palettized weight
        // is scaled itself.
        let product = self.ops.conv1x1(&format!("{name}_unscaled"), x, &weight, None)?;
        let scale = self.ops.constant(&format!("{name}_scale"), scale);
        let Some(tensor) = linear.bias else { return Ok(self.ops.mul(name, &product, &scale)?) };
        let scaled = self.ops.mul(&format!("{name}_scaled"), &product, &scale)?;
        let bias = self.bias(name, tensor, &[1, out_channels, 1, 1]);
        Ok(self.ops.add(name, &scaled, &bias)?)
    }

    fn bias(&mut self, name: &str, tensor: &str, shape: &[u64]) -> Var {
        let value = self.weights.vector(tensor, shape);
        self.ops.constant(&format!("{name}_bias"), value)
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
        let rows = Rows { tensor: spec.name, rows: 0..out_channels, columns: in_channels };
        self.linear(&name, x, &Linear { rows, bias: bias.as_deref(), compression: self.settings.ffn })
    }

    /// The checkpoint's name of a tensor of a decoder layer.
    pub(crate) fn tensor_name(&self, layer: usize, weight: LayerWeight) -> String {
        self.plan().tensor(Part::Layer { index: layer, weight }).name
    }
}
