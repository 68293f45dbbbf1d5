//! Gemma 3, text only: four norms a layer with weights stored as one less, sliding and full layers with rotary embeddings of
//! their own, queries and keys normalized by head, scaled embeddings.
//!
//! Its residual stream outgrows fp16. Here it is [`STREAM_SCALE`] times what the model has, which costs nothing: every norm
//! that reads the stream undoes the factor, and the weights of all that writes to it, the embeddings and the norms behind
//! attention and MLP, are stored with it. As a power of two it rounds nothing.

use serde_json::{Value, json};

use super::Arch;
use super::base::{Defaults, base, layer_types, with_attention};
use crate::model::decoder_plan::{
    Activation, AttentionKind, DecoderPlan, LayerKind, NormKind, NormPlacement, QkNorm, WeightTransform,
};
use crate::model::rope::{RopePlan, RopeScaling};
use crate::source::config::ConfigReader;
use crate::weights::transform::Transform;

/// Base of the wavelengths of layers with full attention where config.json does not say.
const DEFAULT_THETA: f64 = 1_000_000.0;

/// Where config.json names no kinds of layers, every so many layers one is full.
const DEFAULT_PATTERN: usize = 6;

/// Positions that a sliding layer sees where config.json does not say.
const DEFAULT_SLIDING_WINDOW: usize = 4096;

const WINDOW_LIMIT: usize = 1 << 30;
const PATTERN_LIMIT: usize = 1 << 12;

/// Factor of the residual stream, so that it fits fp16.
const STREAM_SCALE: f32 = 0.0625;

/// How `gemma3` differs from the base plan.
///
/// # Source
/// `Gemma3TextConfig` and `Gemma3ForCausalLM` in transformers 4.57.
pub(super) struct Gemma3;

impl Arch for Gemma3 {
    fn name(&self) -> &'static str {
        "Gemma 3"
    }

    fn family(&self) -> &'static str {
        "gemma"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["gemma3_text"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Gemma3ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let defaults = Defaults {
            num_key_value_heads: Some(4),
            head_dim: Some(256),
            max_position_embeddings: 131_072,
            tie_word_embeddings: true,
            activation: ("hidden_activation", Activation::GeluTanh),
            ..Defaults::LLAMA
        };
        let base = base(config, &defaults);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        let query_pre_attn_scalar =
            config.number("query_pre_attn_scalar", "a number above 0", |scalar| scalar > 0.0, Some(256.0));
        config.only("use_bidirectional_attention", &json!(false));
        config.only("attn_logit_softcapping", &Value::Null);
        config.only("final_logit_softcapping", &Value::Null);
        let layers = layers(config, &base);
        let plan = DecoderPlan {
            qkv_bias: attention_bias,
            o_bias: attention_bias,
            qk_norm: QkNorm::Heads,
            norm_kind: NormKind::RmsOnePlus,
            norm_placement: NormPlacement::PreAndPost,
            query_scale: query_pre_attn_scalar.sqrt().recip(),
            embedding_scale: embedding_scale(base.hidden_size),
            layers,
            ..base
        };
        with_scaled_stream(plan, STREAM_SCALE)
    }
}

/// `hidden_size ** 0.5` in f32, as transformers has it in fp32.
///
/// transformers rounds the factor to the type that it computes in: in bf16 that of 640 channels is 25.25 and not 25.298.
/// No type is between the product and fp16 here, so the factor is rounded as little as it can be.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "channels are far below 2^52")]
fn embedding_scale(hidden_size: usize) -> f32 {
    (hidden_size as f64).sqrt() as f32
}

/// Sliding layers turn by `rope_local_base_freq`, full ones by `rope_theta` and `rope_scaling`.
fn layers(config: &mut ConfigReader<'_>, base: &DecoderPlan) -> Vec<LayerKind> {
    let window = config.size("sliding_window", WINDOW_LIMIT, Some(DEFAULT_SLIDING_WINDOW));
    let sliding = AttentionKind::Sliding { window };
    let pattern = config.size("sliding_window_pattern", PATTERN_LIMIT, Some(DEFAULT_PATTERN));
    let local_theta = config.number("rope_local_base_freq", "a number above 1", |theta| theta > 1.0, Some(1e4));
    let says_theta = config.value("rope_theta").is_some_and(|theta| !theta.is_null());
    let by_pattern = |layer: usize| if (layer + 1).is_multiple_of(pattern) { AttentionKind::Full } else { sliding };
    let mut layers = layer_types(config, base, Some(sliding)).unwrap_or_else(|| with_attention(base, by_pattern));
    for layer in &mut layers {
        layer.rope = match layer.attention {
            AttentionKind::Sliding { .. } => {
                Some(RopePlan { theta: local_theta, rotary_dim: base.head_dim, scaling: RopeScaling::Default })
            }
            AttentionKind::Full if says_theta => layer.rope.take(),
            AttentionKind::Full => layer.rope.take().map(|rope| RopePlan { theta: DEFAULT_THETA, ..rope }),
        };
    }
    layers
}

/// The same model with a residual stream of other magnitude.
fn with_scaled_stream(mut plan: DecoderPlan, factor: f32) -> DecoderPlan {
    let norms = plan.norm_placement.norms();
    for module in [norms.after_attention, norms.after_mlp].into_iter().flatten() {
        plan.weights.transforms.push(WeightTransform { module, transform: Transform::scale(factor) });
    }
    let embedding_scale = plan.embedding_scale * factor;
    let stream_norm_eps = plan.stream_norm_eps * f64::from(factor).powi(2);
    DecoderPlan { stream_norm_eps, embedding_scale, ..plan }
}
