//! A plain forward pass over a whole sequence, for every configuration that the converter takes.

use candle_core::{D, Error, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};

use super::checkpoint::Checkpoint;
use super::config::OracleConfig;
use super::library::head;
use super::rope::{Turn, rotation_table};
use super::{DEVICE, OracleError};

/// All weights of a decoder in fp32.
pub(super) struct PlainModel {
    config: OracleConfig,
    embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
}

struct Layer {
    input_norm: Tensor,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    head_norms: Option<(Tensor, Tensor)>,
    attention_output_norm: Option<Tensor>,
    mlp_norm: Tensor,
    mlp_output_norm: Option<Tensor>,
    gate: Projection,
    up: Projection,
    down: Projection,
}

struct Projection {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Projection {
    fn new(checkpoint: &Checkpoint, name: &str) -> Result<Self, OracleError> {
        Ok(Self {
            weight: checkpoint.tensor(&format!("{name}.weight"))?,
            bias: checkpoint.optional(&format!("{name}.bias"))?,
        })
    }

    /// `x: [tokens, in]` to `[tokens, out]`.
    fn apply(&self, x: &Tensor) -> Result<Tensor, Error> {
        let product = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

impl PlainModel {
    pub(super) fn new(config: &OracleConfig, checkpoint: &Checkpoint) -> Result<Self, OracleError> {
        let layer = |index: usize| {
            let name = |part: &str| format!("model.layers.{index}.{part}");
            let projection = |part: &str| Projection::new(checkpoint, &name(part));
            let norm = |part: &str| norm_weight(config, checkpoint, &name(part));
            let optional_norm = |part: &str| {
                if checkpoint.has(&name(&format!("{part}.weight"))) { norm(part).map(Some) } else { Ok(None) }
            };
            // In Gemma the norm of this name is behind attention, and that before the MLP has another.
            let (attention_output_norm, mlp_norm) = if config.gemma {
                (Some(norm("post_attention_layernorm")?), norm("pre_feedforward_layernorm")?)
            } else {
                (None, norm("post_attention_layernorm")?)
            };
            Ok(Layer {
                input_norm: norm("input_layernorm")?,
                query: projection("self_attn.q_proj")?,
                key: projection("self_attn.k_proj")?,
                value: projection("self_attn.v_proj")?,
                output: projection("self_attn.o_proj")?,
                head_norms: optional_norm("self_attn.q_norm")?.zip(optional_norm("self_attn.k_norm")?),
                attention_output_norm,
                mlp_norm,
                mlp_output_norm: if config.gemma { Some(norm("post_feedforward_layernorm")?) } else { None },
                gate: projection("mlp.gate_proj")?,
                up: projection("mlp.up_proj")?,
                down: projection("mlp.down_proj")?,
            })
        };
        let embeddings = checkpoint.tensor("model.embed_tokens.weight")?;
        let tied = config.tie_word_embeddings && !checkpoint.has("lm_head.weight");
        Ok(Self {
            config: config.clone(),
            head: if tied { embeddings.clone() } else { head(config, checkpoint)? },
            embeddings,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, OracleError>>()?,
            norm: norm_weight(config, checkpoint, "model.norm")?,
        })
    }

    pub(super) fn logits(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
        let (global, local) = (self.rotation(Turn::Global, tokens.len())?, self.rotation(Turn::Local, tokens.len())?);
        let mut x = self.embeddings.index_select(&Tensor::new(tokens, &DEVICE)?, 0)?;
        let OracleConfig { embedding_scale, residual_multiplier, logits_scaling, .. } = self.config;
        x = (x * embedding_scale)?;
        let kinds = self.config.windows.iter().zip(&self.config.rotates);
        for (layer, (window, rotates)) in self.layers.iter().zip(kinds) {
            let normed = self.normed(&x, &layer.input_norm)?;
            let rotation = if window.is_some() { &local } else { &global };
            let rotation = Some(rotation).filter(|_| *rotates);
            let attention = self.attention(layer, &normed, rotation, *window)?;
            x = (x
                + (self.optionally_normed(attention, layer.attention_output_norm.as_ref())? * residual_multiplier)?)?;
            let normed = self.normed(&x, &layer.mlp_norm)?;
            let gate = layer.gate.apply(&normed)?;
            let gate = if self.config.gemma { gate.gelu()? } else { silu(&gate)? };
            let mlp = layer.down.apply(&(gate * layer.up.apply(&normed)?)?)?;
            x = (x + (self.optionally_normed(mlp, layer.mlp_output_norm.as_ref())? * residual_multiplier)?)?;
        }
        (self.normed(&x, &self.norm)?.matmul(&self.head.t()?)? / logits_scaling)?.to_vec2()
    }

    #[expect(clippy::cast_possible_truncation, reason = "computed in f32")]
    fn normed(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, Error> {
        rms_norm(&x.contiguous()?, weight, self.config.rms_norm_eps as f32)
    }

    fn optionally_normed(&self, x: Tensor, weight: Option<&Tensor>) -> Result<Tensor, Error> {
        match weight {
            Some(weight) => self.normed(&x, weight),
            None => Ok(x),
        }
    }

    /// Cosines and sines `[tokens, head_dim]`.
    fn rotation(&self, turn: Turn, tokens: usize) -> Result<(Tensor, Tensor), Error> {
        let width = self.config.head_dim;
        let table = |function| {
            Tensor::from_vec(rotation_table(&self.config, turn, tokens, width, function), (tokens, width), &DEVICE)
        };
        Ok((table(f64::cos)?, table(f64::sin)?))
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        rotation: Option<&(Tensor, Tensor)>,
        window: Option<usize>,
    ) -> Result<Tensor, Error> {
        let (heads, key_heads) = (self.config.num_attention_heads, self.config.num_key_value_heads);
        let (tokens, width) = (x.dim(0)?, self.config.head_dim);
        // [heads, tokens, head_dim]
        let split = |x: Tensor, heads: usize| x.reshape((tokens, heads, width))?.transpose(0, 1)?.contiguous();
        let mut query = split(layer.query.apply(x)?, heads)?;
        let mut key = split(layer.key.apply(x)?, key_heads)?;
        let value = split(layer.value.apply(x)?, key_heads)?;
        if let Some((query_norm, key_norm)) = &layer.head_norms {
            query = self.normed(&query, query_norm)?;
            key = self.normed(&key, key_norm)?;
        }
        if let Some(rotation) = rotation {
            (query, key) = (rotate(&query, rotation)?, rotate(&key, rotation)?);
        }
        let repeat = |x: &Tensor| {
            let repeated = (key_heads, heads / key_heads, tokens, width);
            x.unsqueeze(1)?.broadcast_as(repeated)?.contiguous()?.reshape((heads, tokens, width))
        };
        let scores = (query.matmul(&repeat(&key)?.transpose(1, 2)?.contiguous()?)? * self.config.query_scale)?;
        let weights = softmax_last_dim(&scores.broadcast_add(&mask(tokens, window)?)?)?;
        let mixed = weights.matmul(&repeat(&value)?)?;
        layer.output.apply(&mixed.transpose(0, 1)?.contiguous()?.reshape((tokens, heads * width))?)
    }
}

/// The weight of a norm as it multiplies.
fn norm_weight(config: &OracleConfig, checkpoint: &Checkpoint, name: &str) -> Result<Tensor, OracleError> {
    let weight = checkpoint.tensor(&format!("{name}.weight"))?;
    Ok(if config.gemma { (weight + 1.0)? } else { weight })
}

/// Rotates each pair of channels `(i, i + head_dim / 2)`.
fn rotate(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor, Error> {
    let half = x.dim(D::Minus1)? / 2;
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let turned = Tensor::cat(&[&second.neg()?, &first], D::Minus1)?;
    x.broadcast_mul(cos)? + turned.broadcast_mul(sin)?
}

/// 0 where the token of a row sees that of a column, which is at most `window - 1` before it.
fn mask(tokens: usize, window: Option<usize>) -> Result<Tensor, Error> {
    let window = window.unwrap_or(usize::MAX);
    let seen = |row: usize, column: usize| column <= row && row - column < window;
    let values = (0..tokens)
        .flat_map(|row| (0..tokens).map(move |column| if seen(row, column) { 0.0_f32 } else { f32::NEG_INFINITY }));
    Tensor::from_iter(values, &DEVICE)?.reshape((tokens, tokens))
}
