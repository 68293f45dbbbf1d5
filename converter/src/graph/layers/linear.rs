//! A projection as a 1×1 convolution, its weight plain, palettized or int8, or as a sum of several over parts of the
//! input channels.

use std::ops::Range;

use anec_mil::Var;
use anec_mil::ops::split::Split;

use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::WeightPath;
use crate::options::Compression;
use crate::weights::requests::Matrix;
use crate::weights::weight_file::{Rows, StoredWeight};

/// A projection of the checkpoint.
pub(crate) struct Linear {
    /// What it is called in every layer.
    pub(crate) label: &'static str,
    /// Which rows of which weight, `[out_channels, in_channels]`.
    pub(crate) rows: Rows,
    /// The bias, if the layer has one, with an element for every row of the weight.
    pub(crate) bias: Option<Rows>,
    /// Storage of the weight.
    pub(crate) compression: Option<Compression>,
}

impl Graph<'_> {
    /// Applies a projection.
    ///
    /// # Shapes
    /// `x: [1, in_channels, 1, tokens]`; the result is `[1, out_channels, 1, tokens]`.
    pub(crate) fn linear(&mut self, name: &str, x: &Var, linear: &Linear) -> Result<Var, GraphError> {
        let out_channels = linear.rows.rows.end - linear.rows.rows.start;
        let bits = linear.compression.map(Compression::bits);
        let parts = self.settings.splitter.parts(out_channels, linear.rows.columns, bits);
        self.weights.requests.add_matrix(Matrix {
            label: linear.label.to_owned(),
            rows: out_channels,
            columns: linear.rows.columns,
            bits,
            parts: parts.iter().map(|part| part.end - part.start).collect(),
        });
        if parts.len() < 2 {
            return self.convolution(name, x, linear);
        }
        let mut sum: Option<Var> = None;
        let last = parts.len() - 1;
        for (index, (channels, x)) in parts.iter().zip(self.cut_channels(x, &parts)?).enumerate() {
            let rows = linear.rows.with_columns(channels);
            let bias = linear.bias.clone().filter(|_| index == 0);
            let part = Linear { rows, bias, ..*linear };
            let product = self.convolution(&format!("{name}_part_{index}"), &x, &part)?;
            sum = Some(match sum {
                None => product,
                Some(sum) if index == last => self.ops.add(name, &sum, &product)?,
                Some(sum) => self.ops.add(&format!("{name}_sum_{index}"), &sum, &product)?,
            });
        }
        Ok(sum.expect("a split has at least two parts"))
    }

    fn convolution(&mut self, name: &str, x: &Var, linear: &Linear) -> Result<Var, GraphError> {
        let Linear { rows, bias, compression, .. } = linear;
        let out_channels = rows.rows.end - rows.rows.start;
        let shape = [out_channels, rows.columns, 1, 1];
        let weight_name = format!("{name}_weight");
        let (weight, scale) = match self.weights.weight(rows, &shape, *compression)? {
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
            let bias = bias.as_ref().map(|bias| self.bias(name, bias, &[out_channels]));
            return Ok(self.ops.conv1x1(name, x, &weight, bias.as_ref())?);
        };
        // The scales stand behind the convolution: the Neural Engine's compiler aborts where a palettized weight is
        // scaled itself.
        let product = self.ops.conv1x1(&format!("{name}_unscaled"), x, &weight, None)?;
        let scale = self.ops.constant(&format!("{name}_scale"), scale);
        let Some(bias) = bias else { return Ok(self.ops.mul(name, &product, &scale)?) };
        let scaled = self.ops.mul(&format!("{name}_scaled"), &product, &scale)?;
        let bias = self.bias(name, bias, &[1, out_channels, 1, 1]);
        Ok(self.ops.add(name, &scaled, &bias)?)
    }

    fn bias(&mut self, name: &str, bias: &Rows, shape: &[u64]) -> Var {
        let value = self.weights.plain(bias, shape);
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

    /// Applies a projection of a decoder layer, `[out_channels, in_channels]`.
    pub(crate) fn projection(
        &mut self,
        layer: usize,
        module: &'static str,
        [out_channels, in_channels]: [u64; 2],
        biased: bool,
        x: &Var,
    ) -> Result<Var, GraphError> {
        let rows = self.matrix(&WeightPath::weight(layer, module), [out_channels, in_channels]);
        let bias = biased.then(|| self.vector(&WeightPath::bias(layer, module), out_channels));
        let label = last_name(module);
        let linear = Linear { label, rows, bias, compression: self.settings.ffn };
        self.linear(&format!("layers_{layer}_{label}"), x, &linear)
    }
}

/// The module's own name, such as `q_proj` of `self_attn.q_proj`.
pub(crate) fn last_name(module: &'static str) -> &'static str {
    module.rsplit_once('.').map_or(module, |(_, name)| name)
}
