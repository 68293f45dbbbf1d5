//! A projection as a 1×1 convolution, its weight in any encoding, or as a sum of several over parts of the input channels.

use std::ops::Range;

use anec_mil::ops::split::Split;
use anec_mil::{SliceMasks, Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::WeightPath;
use crate::weights::encodings::Constant;
use crate::weights::recipe::WeightKind;
use crate::weights::requests::Matrix;
use crate::weights::rows::Rows;

/// A projection of the checkpoint.
pub(crate) struct Linear {
    /// What it is called in every layer.
    pub(crate) label: &'static str,
    /// Which rows of which weight, `[out_channels, in_channels]`.
    pub(crate) rows: Rows,
    /// The bias, if the layer has one, with an element for every row of the weight.
    pub(crate) bias: Option<Rows>,
    /// What the weight is for, which decides its storage.
    pub(crate) kind: WeightKind,
}

impl Graph<'_> {
    /// Applies a projection.
    ///
    /// # Shapes
    /// `x: [1, in_channels, 1, tokens]`; the result is `[1, out_channels, 1, tokens]`.
    pub(crate) fn linear(&mut self, name: &str, x: &Var, linear: &Linear) -> Result<Var, GraphError> {
        let x = &self.rounded(x, linear)?;
        let storage = self.settings.recipe.of(linear.kind, &linear.rows.tensor);
        let bits = storage.quantized_bits();
        let stored_channels = storage.encoding().stored_rows(&linear.rows);
        let parts = self.settings.splitter.parts(stored_channels, linear.rows.columns, bits);
        self.weights.requests.add_matrix(Matrix {
            label: linear.label.to_owned(),
            rows: stored_channels,
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

    /// What a projection multiplies: `x` itself, or the nearest multiples of its scale in int8, where the weight is int8 too and
    /// activations have scales. Projections that share an input share its rounding.
    fn rounded(&mut self, x: &Var, linear: &Linear) -> Result<Var, GraphError> {
        let storage = self.settings.recipe.of(linear.kind, &linear.rows.tensor);
        let scale = self.settings.activations.and_then(|scales| scales.get(&linear.rows.tensor));
        let Some(scale) = scale.filter(|_| storage.is_linear_int8()) else { return Ok(x.clone()) };
        if let Some(rounded) = self.rounded.get(&x.name) {
            return Ok(rounded.clone());
        }
        let scale = Value::fp16(f16::from_f32(scale));
        let int8 = self.ops.quantize_int8(&format!("{}_int8", x.name), x, scale.clone())?;
        let rounded = self.ops.dequantize(&format!("{}_rounded", x.name), &int8, scale)?;
        self.rounded.insert(x.name.clone(), rounded.clone());
        Ok(rounded)
    }

    fn convolution(&mut self, name: &str, x: &Var, linear: &Linear) -> Result<Var, GraphError> {
        let Linear { rows, bias, kind, .. } = linear;
        let out_channels = rows.count();
        let shape = [out_channels, rows.columns, 1, 1];
        let weight_name = format!("{name}_weight");
        let storage = self.settings.recipe.of(*kind, &rows.tensor);
        let is_filled_up = storage.encoding().stored_rows(rows) > out_channels;
        let stored = self.weights.weight(rows, &shape, storage)?;
        let Constant { weight, result_scale } = stored.constant(&mut self.ops, &weight_name)?;
        if result_scale.is_none() && !is_filled_up {
            let bias = bias.as_ref().map(|bias| self.bias(name, bias, &[out_channels]));
            return Ok(self.ops.conv1x1(name, x, &weight, bias.as_ref())?);
        }
        let last = |is_last: bool, step: &str| if is_last { name.to_owned() } else { format!("{name}_{step}") };
        let (has_scale, has_bias) = (result_scale.is_some(), bias.is_some());
        let mut product = if is_filled_up {
            let whole_groups = self.ops.conv1x1(&format!("{name}_whole_groups"), x, &weight, None)?;
            self.first_channels(&last(!has_scale && !has_bias, "unscaled"), &whole_groups, out_channels)?
        } else {
            self.ops.conv1x1(&format!("{name}_unscaled"), x, &weight, None)?
        };
        if let Some(scale) = result_scale {
            let scale = self.ops.constant(&format!("{name}_scale"), scale);
            product = self.ops.mul(&last(!has_bias, "scaled"), &product, &scale)?;
        }
        let Some(bias) = bias else { return Ok(product) };
        let bias = self.bias(name, bias, &[1, out_channels, 1, 1]);
        Ok(self.ops.add(name, &product, &bias)?)
    }

    /// The first channels of `x`, `[1, channels, height, width]`.
    fn first_channels(&mut self, name: &str, x: &Var, channels: u64) -> Result<Var, GraphError> {
        let mut end: Vec<i32> =
            x.tensor()?.fixed_shape().expect("activations have fixed shapes").into_iter().map(int).collect();
        if let Some(end) = end.get_mut(1) {
            *end = int(channels);
        }
        let masks = SliceMasks::end(&[true, false, true, true]);
        Ok(self.ops.slice_by_index(name, x, &[0, 0, 0, 0], &end, &masks)?)
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
        let linear = Linear { label, rows, bias, kind: WeightKind::Layer };
        self.linear(&format!("layers_{layer}_{label}"), x, &linear)
    }
}

/// The module's own name, such as `q_proj` of `self_attn.q_proj`.
pub(crate) fn last_name(module: &'static str) -> &'static str {
    module.rsplit_once('.').map_or(module, |(_, name)| name)
}
