//! A projection as a 1×1 convolution, its weight in any encoding, or as a sum of several over parts of the input channels.

use std::ops::Range;

use anec_mil::Var;
use anec_mil::ops::split::Split;

use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::{LayerWeight, Part};
use crate::weights::encodings::Constant;
use crate::weights::recipe::WeightKind;
use crate::weights::rows::Rows;

/// A projection of the checkpoint.
pub(crate) struct Linear<'a> {
    /// Which rows of which weight, `[out_channels, in_channels]`.
    pub(crate) rows: Rows,
    /// The bias tensor, if the layer has one, with an element for every row of the weight.
    pub(crate) bias: Option<&'a str>,
    /// What the weight is for, which decides its storage.
    pub(crate) kind: WeightKind,
}

impl Graph<'_> {
    /// Applies a projection.
    ///
    /// # Shapes
    /// `x: [1, in_channels, 1, tokens]`; the result is `[1, out_channels, 1, tokens]`.
    pub(crate) fn linear(&mut self, name: &str, x: &Var, linear: &Linear<'_>) -> Result<Var, GraphError> {
        let out_channels = linear.rows.rows.end - linear.rows.rows.start;
        let bits = self.settings.recipe.of(linear.kind, &linear.rows.tensor).quantized_bits();
        let parts = self.settings.splitter.parts(out_channels, linear.rows.columns, bits);
        if parts.len() < 2 {
            return self.convolution(name, x, linear);
        }
        let mut sum: Option<Var> = None;
        let last = parts.len() - 1;
        for (index, (channels, x)) in parts.iter().zip(self.cut_channels(x, &parts)?).enumerate() {
            let rows = linear.rows.with_columns(channels);
            let bias = linear.bias.filter(|_| index == 0);
            let part = Linear { rows, bias, kind: linear.kind };
            let product = self.convolution(&format!("{name}_part_{index}"), &x, &part)?;
            sum = Some(match sum {
                None => product,
                Some(sum) if index == last => self.ops.add(name, &sum, &product)?,
                Some(sum) => self.ops.add(&format!("{name}_sum_{index}"), &sum, &product)?,
            });
        }
        sum.map_or_else(|| self.convolution(name, x, linear), Ok)
    }

    fn convolution(&mut self, name: &str, x: &Var, linear: &Linear<'_>) -> Result<Var, GraphError> {
        let Linear { rows, bias, kind } = linear;
        let out_channels = rows.rows.end - rows.rows.start;
        let shape = [out_channels, rows.columns, 1, 1];
        let weight_name = format!("{name}_weight");
        let stored = self.weights.weight(rows, &shape, self.settings.recipe.of(*kind, &rows.tensor))?;
        let Constant { weight, result_scale } = stored.constant(&mut self.ops, &weight_name)?;
        let Some(scale) = result_scale else {
            let bias = bias.map(|tensor| self.bias(name, tensor, rows, &[out_channels]));
            return Ok(self.ops.conv1x1(name, x, &weight, bias.as_ref())?);
        };
        let product = self.ops.conv1x1(&format!("{name}_unscaled"), x, &weight, None)?;
        let scale = self.ops.constant(&format!("{name}_scale"), scale);
        let Some(tensor) = bias else { return Ok(self.ops.mul(name, &product, &scale)?) };
        let scaled = self.ops.mul(&format!("{name}_scaled"), &product, &scale)?;
        let bias = self.bias(name, tensor, rows, &[1, out_channels, 1, 1]);
        Ok(self.ops.add(name, &scaled, &bias)?)
    }

    fn bias(&mut self, name: &str, tensor: &str, rows: &Rows, shape: &[u64]) -> Var {
        let value = self.weights.vector_rows(tensor, rows.rows.clone(), shape);
        self.ops.constant(&format!("{name}_bias"), value)
    }

    /// Cuts a value along its channels, once for all projections that cut it alike.
    fn cut_channels(&mut self, x: &Var, parts: &[Range<u64>]) -> Result<Vec<Var>, GraphError> {
        let sizes: Vec<i32> = parts.iter().map(|part| int(part.end - part.start)).collect();
        let key = (x.name.clone(), sizes.len());
        if let Some(cut) = self.channel_parts.get(&key) {
            return Ok(cut.clone());
        }
        let cut = self.ops.split(&format!("{}_in_{}", x.name, sizes.len()), x, Split::Sizes(&sizes), 1)?;
        self.channel_parts.insert(key, cut.clone());
        Ok(cut)
    }

    /// Applies a projection of a decoder layer.
    pub(crate) fn projection(
        &mut self,
        layer: usize,
        weight: LayerWeight,
        bias: Option<LayerWeight>,
        x: &Var,
    ) -> Result<Var, GraphError> {
        let rows = self.projection_rows(layer, weight);
        let bias = bias.map(|bias| self.tensor_name(layer, bias));
        let name = format!("layers_{layer}_{}", weight.short_name());
        self.linear(&name, x, &Linear { rows, bias: bias.as_deref(), kind: WeightKind::Layer })
    }

    /// All rows of a projection of a decoder layer.
    pub(crate) fn projection_rows(&self, layer: usize, weight: LayerWeight) -> Rows {
        let spec = self.plan().tensor(Part::Layer { index: layer, weight });
        let [out_channels, in_channels] = [0, 1].map(|axis| spec.shape.get(axis).copied().unwrap_or(1) as u64);
        Rows::new(spec.name, 0..out_channels, in_channels)
    }

    /// The checkpoint's name of a tensor of a decoder layer.
    pub(crate) fn tensor_name(&self, layer: usize, weight: LayerWeight) -> String {
        self.plan().tensor(Part::Layer { index: layer, weight }).name
    }
}
