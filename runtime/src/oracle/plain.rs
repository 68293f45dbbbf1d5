//! A plain forward pass over a whole sequence, for every configuration that the converter takes.

use candle_core::{D, Error, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};

use super::checkpoint::Checkpoint;
use super::config::OracleConfig;
use super::kinds::{HeadNorms, Norms};
use super::library::{head, is_tied};
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
    before_attention: Option<Tensor>,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    head_norms: Option<(Tensor, Tensor)>,
    behind_attention: Option<Tensor>,
    before_mlp: Option<Tensor>,
    behind_mlp: Option<Tensor>,
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

    /// One behind the other in one weight, of so many rows each.
    fn fused<const N: usize>(checkpoint: &Checkpoint, name: &str, rows: [usize; N]) -> Result<[Self; N], OracleError> {
        let whole = Self::new(checkpoint, name)?;
        let mut start = 0;
        let mut parts = Vec::with_capacity(N);
        for rows in rows {
            let part = |x: &Tensor| x.narrow(0, start, rows)?.contiguous();
            parts.push(Self { weight: part(&whole.weight)?, bias: whole.bias.as_ref().map(part).transpose()? });
            start += rows;
        }
        let Ok(parts) = parts.try_into() else { unreachable!("a part for each number of rows") };
        Ok(parts)
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
        let kind = config.kind;
        let prefix = checkpoint.prefix();
        let (queries, inner) = (config.num_attention_heads * config.head_dim, config.intermediate_size);
        let keys = config.num_key_value_heads * config.head_dim;
        let layer = |index: usize| {
            let name = |part: &str| format!("{prefix}layers.{index}.{part}");
            let projection = |part: &str| Projection::new(checkpoint, &name(part));
            let norm = |part: &str| norm_weight(config, checkpoint, &name(part)).map(Some);
            // In Gemma and OLMo the norm that is before the MLP elsewhere is behind attention.
            let [before_attention, behind_attention, before_mlp, behind_mlp] = match kind.norms {
                Norms::Before => [norm("input_layernorm")?, None, norm("post_attention_layernorm")?, None],
                Norms::Around => [
                    norm("input_layernorm")?,
                    norm("post_attention_layernorm")?,
                    norm("pre_feedforward_layernorm")?,
                    norm("post_feedforward_layernorm")?,
                ],
                Norms::Behind => [None, norm("post_attention_layernorm")?, None, norm("post_feedforward_layernorm")?],
            };
            let head_norms = match kind.head_norms {
                HeadNorms::None => None,
                HeadNorms::Each | HeadNorms::Together => norm("self_attn.q_norm")?.zip(norm("self_attn.k_norm")?),
            };
            let ([query, key, value], [gate, up]) = if kind.fused {
                (
                    Projection::fused(checkpoint, &name("self_attn.qkv_proj"), [queries, keys, keys])?,
                    Projection::fused(checkpoint, &name("mlp.gate_up_proj"), [inner, inner])?,
                )
            } else {
                (
                    [projection("self_attn.q_proj")?, projection("self_attn.k_proj")?, projection("self_attn.v_proj")?],
                    [projection("mlp.gate_proj")?, projection("mlp.up_proj")?],
                )
            };
            Ok(Layer {
                before_attention,
                query,
                key,
                value,
                output: projection("self_attn.o_proj")?,
                head_norms,
                behind_attention,
                before_mlp,
                behind_mlp,
                gate,
                up,
                down: projection("mlp.down_proj")?,
            })
        };
        let embeddings = checkpoint.tensor(&format!("{prefix}embed_tokens.weight"))?;
        Ok(Self {
            config: config.clone(),
            head: if is_tied(config, checkpoint) { embeddings.clone() } else { head(config, checkpoint)? },
            embeddings,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, OracleError>>()?,
            norm: norm_weight(config, checkpoint, &format!("{prefix}norm"))?,
        })
    }

    pub(super) fn logits(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
        let (global, local) = (self.rotation(Turn::Global, tokens.len())?, self.rotation(Turn::Local, tokens.len())?);
        let mut x = self.embeddings.index_select(&Tensor::new(tokens, &DEVICE)?, 0)?;
        let OracleConfig { embedding_scale, residual_multiplier, logits_scaling, .. } = self.config;
        x = (x * embedding_scale)?;
        let kinds = self.config.windows.iter().zip(&self.config.rotates);
        for (layer, (window, rotates)) in self.layers.iter().zip(kinds) {
            let normed = self.optionally_normed(x.clone(), layer.before_attention.as_ref())?;
            let rotation = if window.is_some() { &local } else { &global };
            let rotation = Some(rotation).filter(|_| *rotates);
            let attention = self.attention(layer, &normed, rotation, *window)?;
            x = (x + (self.optionally_normed(attention, layer.behind_attention.as_ref())? * residual_multiplier)?)?;
            let normed = self.optionally_normed(x.clone(), layer.before_mlp.as_ref())?;
            let gate = layer.gate.apply(&normed)?;
            let gate = if self.config.kind.activation.1 == "silu" { silu(&gate)? } else { gate.gelu()? };
            let mlp = layer.down.apply(&(gate * layer.up.apply(&normed)?)?)?;
            x = (x + (self.optionally_normed(mlp, layer.behind_mlp.as_ref())? * residual_multiplier)?)?;
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

    /// Cosines and sines `[tokens, rotary_dim]`.
    fn rotation(&self, turn: Turn, tokens: usize) -> Result<(Tensor, Tensor), Error> {
        let width = self.config.rotary_dim;
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
        let (mut query, mut key) = (layer.query.apply(x)?, layer.key.apply(x)?);
        let together = self.config.kind.head_norms == HeadNorms::Together;
        if let Some((query_norm, key_norm)) = layer.head_norms.as_ref().filter(|_| together) {
            (query, key) = (self.normed(&query, query_norm)?, self.normed(&key, key_norm)?);
        }
        (query, key) = (split(query, heads)?, split(key, key_heads)?);
        let value = split(layer.value.apply(x)?, key_heads)?;
        if let Some((query_norm, key_norm)) = layer.head_norms.as_ref().filter(|_| !together) {
            (query, key) = (self.normed(&query, query_norm)?, self.normed(&key, key_norm)?);
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
    Ok((weight + config.kind.norm_offset)?)
}

/// Rotates each pair of channels `(i, i + rotary_dim / 2)`, and leaves the channels behind `rotary_dim` as they are.
fn rotate(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor, Error> {
    let (width, rotary_dim) = (x.dim(D::Minus1)?, cos.dim(D::Minus1)?);
    let half = rotary_dim / 2;
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let turned = Tensor::cat(&[&second.neg()?, &first], D::Minus1)?;
    let rotated = (x.narrow(D::Minus1, 0, rotary_dim)?.broadcast_mul(cos)? + turned.broadcast_mul(sin)?)?;
    if rotary_dim == width {
        return Ok(rotated);
    }
    Tensor::cat(&[&rotated, &x.narrow(D::Minus1, rotary_dim, width - rotary_dim)?], D::Minus1)
}

/// 0 where the token of a row sees that of a column, which is at most `window - 1` before it.
fn mask(tokens: usize, window: Option<usize>) -> Result<Tensor, Error> {
    let window = window.unwrap_or(usize::MAX);
    let seen = |row: usize, column: usize| column <= row && row - column < window;
    let values = (0..tokens)
        .flat_map(|row| (0..tokens).map(move |column| if seen(row, column) { 0.0_f32 } else { f32::NEG_INFINITY }));
    Tensor::from_iter(values, &DEVICE)?.reshape((tokens, tokens))
}
