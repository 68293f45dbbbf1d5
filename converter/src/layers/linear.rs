//! A projection as a 1×1 convolution, its weight plain or palettized, or as a sum of several over parts of the input
//! channels.

use std::ops::Range;

use anec_mil::Var;
use anec_mil::ops::split::Split;

use crate::decoder_plan::{LayerWeight, Part};
use crate::graphs::{Graph, GraphError, int};
use crate::options::Palette;
use crate::weight_file::{Rows, StoredWeight};

/// A projection of the checkpoint.
pub(crate) struct Linear<'a> {
    /// Which rows of which weight, `[out_channels, in_channels]`.
    pub(crate) rows: Rows,
    /// The bias tensor, if the layer has one, with an element for every row of the weight.
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
        let bits = linear.palette.map(|palette| palette.bits);
        let parts = self.settings.splitter.parts(out_channels, linear.rows.columns, bits);
        let bias = linear.bias.map(|tensor| {
            let value = self.weights.vector_rows(tensor, linear.rows.rows.clone(), &[out_channels]);
            self.ops.constant(&format!("{name}_bias"), value)
        });
        if parts.len() < 2 {
            return self.convolution(name, x, &linear.rows, linear.palette, bias.as_ref());
        }
        let mut sum: Option<Var> = None;
        let last = parts.len() - 1;
        for (index, (channels, x)) in parts.iter().zip(self.cut_channels(x, &parts)?).enumerate() {
            let rows = linear.rows.with_columns(channels);
            let bias = bias.as_ref().filter(|_| index == 0);
            let product = self.convolution(&format!("{name}_part_{index}"), &x, &rows, linear.palette, bias)?;
            sum = Some(match sum {
                None => product,
                Some(sum) if index == last => self.ops.add(name, &sum, &product)?,
                Some(sum) => self.ops.add(&format!("{name}_sum_{index}"), &sum, &product)?,
            });
        }
        sum.map_or_else(|| self.convolution(name, x, &linear.rows, linear.palette, bias.as_ref()), Ok)
    }

    fn convolution(
        &mut self,
        name: &str,
        x: &Var,
        rows: &Rows,
        palette: Option<Palette>,
        bias: Option<&Var>,
    ) -> Result<Var, GraphError> {
        let shape = [rows.rows.end - rows.rows.start, rows.columns, 1, 1];
        let weight_name = format!("{name}_weight");
        let weight = match self.weights.weight(rows, &shape, palette)? {
            StoredWeight::Plain(value) => self.ops.constant(&weight_name, value),
            StoredWeight::Palettized { indices, lut } => {
                self.ops.lut_to_dense(&format!("{weight_name}_palettized"), indices, lut)?
            }
        };
        Ok(self.ops.conv1x1(name, x, &weight, bias)?)
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
        self.linear(&name, x, &Linear { rows, bias: bias.as_deref(), palette: self.settings.ffn })
    }

    /// All rows of a projection of a decoder layer.
    pub(crate) fn projection_rows(&self, layer: usize, weight: LayerWeight) -> Rows {
        let spec = self.plan().tensor(Part::Layer { index: layer, weight });
        let [out_channels, in_channels] = [0, 1].map(|axis| spec.shape.get(axis).copied().unwrap_or(1) as u64);
        Rows { tensor: spec.name, rows: 0..out_channels, first_column: 0, columns: in_channels }
    }

    /// The checkpoint's name of a tensor of a decoder layer.
    pub(crate) fn tensor_name(&self, layer: usize, weight: LayerWeight) -> String {
        self.plan().tensor(Part::Layer { index: layer, weight }).name
    }
}
