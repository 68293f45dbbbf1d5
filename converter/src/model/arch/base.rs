//! The plan that adapters start from: keys that all decoders have, and limits on what they may say.
//!
//! The limits are far above every published model; they keep products of sizes within 64 bits and tables within memory.

use serde_json::{Value, json};

use crate::model::decoder_plan::{
    Activation, AttentionKind, DecoderPlan, LayerKind, NormKind, NormPlacement, QkNorm, WeightNames,
};
use crate::model::rope::{RopeHeads, RopeLengths, RopePlan};
use crate::source::config::{ConfigReader, shortened};

const WIDTH_LIMIT: usize = 1 << 20;
const VOCABULARY_LIMIT: usize = 1 << 24;
const LAYER_LIMIT: usize = 1 << 12;
const HEAD_LIMIT: usize = 1 << 14;
const HEAD_DIM_LIMIT: usize = 1 << 10;
const POSITION_LIMIT: usize = 1 << 30;

/// Stands in for a size that cannot be told, so that nothing else is found wrong because of it.
const HEAD_DIM_PLACEHOLDER: usize = 4;

/// What an absent key means, and what else the base of an architecture starts from.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Key heads; none is as many as query heads.
    pub num_key_value_heads: Option<usize>,
    /// Channels of a head; none is `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// Positions that the model was trained for.
    pub max_position_embeddings: usize,
    /// Whether the head's weight is that of the token embeddings.
    pub tie_word_embeddings: bool,
    /// The key that names the activation, and the only one that the model computes.
    pub activation: (&'static str, Activation),
    /// Added to the mean square in norms.
    pub rms_norm_eps: f64,
    /// Whether `partial_rotary_factor` may leave channels of a head as they are.
    pub rotates_part: bool,
    /// `original_max_position_embeddings` beside `rope_scaling`, of architectures that have it there.
    pub original_max_position_embeddings: Option<usize>,
}

impl Defaults {
    /// Those of Llama, which most architectures change little of.
    pub const LLAMA: Self = Self {
        num_key_value_heads: None,
        head_dim: None,
        max_position_embeddings: 2048,
        tie_word_embeddings: false,
        activation: ("hidden_act", Activation::Silu),
        rms_norm_eps: 1e-6,
        rotates_part: false,
        original_max_position_embeddings: None,
    };
}

/// The plan of a decoder as Llama is one: norms before attention and MLP, no biases, full attention with one rotary
/// embedding in every layer. An adapter states what differs, `DecoderPlan { qkv_bias: true, ..base }`.
pub fn base(config: &mut ConfigReader<'_>, defaults: &Defaults) -> DecoderPlan {
    let num_attention_heads = config.size("num_attention_heads", HEAD_LIMIT, None);
    let num_key_value_heads = match (config.value("num_key_value_heads"), defaults.num_key_value_heads) {
        (None, Some(default)) => default,
        _ => config.optional_size("num_key_value_heads", HEAD_LIMIT).unwrap_or(num_attention_heads),
    };
    if config.is_sound("num_attention_heads") && !num_attention_heads.is_multiple_of(num_key_value_heads) {
        let expected = format!("a divisor of `num_attention_heads`, {num_attention_heads}");
        config.violation("num_key_value_heads", expected, num_key_value_heads.to_string());
    }
    let (activation_key, activation) = defaults.activation;
    // Two names of one function.
    let is_swish = config.value(activation_key).and_then(Value::as_str) == Some("swish");
    if activation != Activation::Silu || !is_swish {
        config.only(activation_key, &json!(activation.config_name()));
    }
    let hidden_size = config.size("hidden_size", WIDTH_LIMIT, None);
    let num_hidden_layers = config.size("num_hidden_layers", LAYER_LIMIT, None);
    let max_position_embeddings =
        config.size("max_position_embeddings", POSITION_LIMIT, Some(defaults.max_position_embeddings));
    let head_dim = match defaults.head_dim {
        Some(default) => {
            let head_dim = config.size("head_dim", HEAD_DIM_LIMIT, Some(default));
            even(config, head_dim)
        }
        None => derived_head_dim(config, hidden_size, num_attention_heads),
    };
    let original_max_position_embeddings = defaults
        .original_max_position_embeddings
        .map(|default| config.size("original_max_position_embeddings", POSITION_LIMIT, Some(default)));
    let heads = RopeHeads { head_dim, rotates_part: defaults.rotates_part };
    let lengths = RopeLengths { max_position_embeddings, original_max_position_embeddings };
    let rope = RopePlan::read(config, heads, lengths);
    let is_small = |eps| eps > 0.0 && eps < 1.0;
    let rms_norm_eps =
        config.number("rms_norm_eps", "a number above 0 and below 1", is_small, Some(defaults.rms_norm_eps));
    DecoderPlan {
        model_type: config.value("model_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
        hidden_size,
        intermediate_size: config.size("intermediate_size", WIDTH_LIMIT, None),
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        vocab_size: config.size("vocab_size", VOCABULARY_LIMIT, None),
        max_position_embeddings,
        rms_norm_eps,
        stream_norm_eps: rms_norm_eps,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: QkNorm::None,
        activation,
        norm_kind: NormKind::Rms,
        norm_placement: NormPlacement::Pre,
        query_scale: inverse_root(head_dim),
        embedding_scale: 1.0,
        residual_multiplier: 1.0,
        logit_scale: 1.0,
        attention_softcap: None,
        logit_softcap: None,
        layers: vec![LayerKind { attention: AttentionKind::Full, rope: Some(rope) }; num_hidden_layers],
        tie_word_embeddings: config.boolean("tie_word_embeddings", defaults.tie_word_embeddings),
        weights: WeightNames::default(),
    }
}

/// `head_dim`, or where it is absent or null `hidden_size / num_attention_heads`.
fn derived_head_dim(config: &mut ConfigReader<'_>, hidden_size: usize, num_attention_heads: usize) -> usize {
    match config.optional_size("head_dim", HEAD_DIM_LIMIT) {
        Some(head_dim) => even(config, head_dim),
        None if !config.is_sound("hidden_size") || !config.is_sound("num_attention_heads") => HEAD_DIM_PLACEHOLDER,
        None if hidden_size.is_multiple_of(num_attention_heads) => even(config, hidden_size / num_attention_heads),
        None => {
            let expected = format!("a multiple of `num_attention_heads`, {num_attention_heads}, or a `head_dim`");
            config.violation("hidden_size", expected, hidden_size.to_string());
            HEAD_DIM_PLACEHOLDER
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "heads have at most 2^10 channels")]
fn inverse_root(head_dim: usize) -> f64 {
    (head_dim as f64).sqrt().recip()
}

/// The layers of a base with other kinds of attention.
pub(super) fn with_attention(base: &DecoderPlan, kind: impl Fn(usize) -> AttentionKind) -> Vec<LayerKind> {
    let layers = base.layers.iter().enumerate();
    layers.map(|(index, layer)| LayerKind { attention: kind(index), ..layer.clone() }).collect()
}

/// The layers of the Qwen family.
///
/// `sliding_window` acts only under `use_sliding_window`; without `layer_types`, it then acts from layer
/// `max_window_layers` on.
///
/// # Source
/// `Qwen2Config` and `Qwen3Config` in transformers 4.57.
pub(super) fn qwen_layers(config: &mut ConfigReader<'_>, base: &DecoderPlan) -> Vec<LayerKind> {
    let use_sliding_window = config.boolean("use_sliding_window", false);
    let sliding_window = match config.value("sliding_window") {
        None => Some(4096),
        Some(_) => config.optional_size("sliding_window", POSITION_LIMIT),
    };
    let sliding = sliding_window.filter(|_| use_sliding_window).map(|window| AttentionKind::Sliding { window });
    let max_window_layers = match config.value("max_window_layers") {
        None => 28,
        Some(value) => value.as_u64().and_then(|layers| usize::try_from(layers).ok()).unwrap_or_else(|| {
            config.violation("max_window_layers", "an integer of at least 0", shortened(value));
            0
        }),
    };
    let by_number = |layer| match sliding {
        Some(sliding) if layer >= max_window_layers => sliding,
        _ => AttentionKind::Full,
    };
    layer_types(config, base, sliding).unwrap_or_else(|| with_attention(base, by_number))
}

/// The layers by `layer_types`, where the config has them: each full, or sliding where the model has a window.
pub(super) fn layer_types(
    config: &mut ConfigReader<'_>,
    base: &DecoderPlan,
    sliding: Option<AttentionKind>,
) -> Option<Vec<LayerKind>> {
    let value = config.value("layer_types").filter(|value| !value.is_null())?;
    let kind = |value: &Value| match value.as_str() {
        Some("full_attention") => Some(AttentionKind::Full),
        Some("sliding_attention") => sliding,
        _ => None,
    };
    let kinds = value.as_array().and_then(|kinds| kinds.iter().map(kind).collect::<Option<Vec<_>>>());
    let Some(kinds) = kinds.filter(|kinds| kinds.len() == base.num_hidden_layers) else {
        let kinds = match sliding {
            Some(_) => "`full_attention` or `sliding_attention`",
            None => "`full_attention`, as no sliding window is in use",
        };
        config.violation("layer_types", format!("{} of {kinds}", base.num_hidden_layers), shortened(value));
        return Some(base.layers.clone());
    };
    let layers = base.layers.iter().zip(kinds);
    Some(layers.map(|(layer, attention)| LayerKind { attention, ..layer.clone() }).collect())
}

/// Rotary embeddings turn channels in pairs.
fn even(config: &mut ConfigReader<'_>, head_dim: usize) -> usize {
    if head_dim.is_multiple_of(2) && head_dim <= HEAD_DIM_LIMIT {
        return head_dim;
    }
    config.violation("head_dim", format!("an even number of at most {HEAD_DIM_LIMIT}"), head_dim.to_string());
    HEAD_DIM_PLACEHOLDER
}

/// The window of architectures that have one in every layer or in none.
pub(super) fn window(config: &mut ConfigReader<'_>, default: usize) -> AttentionKind {
    match config.value("sliding_window") {
        None => AttentionKind::Sliding { window: default },
        Some(_) => config
            .optional_size("sliding_window", POSITION_LIMIT)
            .map_or(AttentionKind::Full, |window| AttentionKind::Sliding { window }),
    }
}

/// A window of an architecture that has none: accepted where the config itself says that it is not in use.
pub(super) fn unused_window(config: &mut ConfigReader<'_>) {
    if config.value("use_sliding_window") == Some(&Value::Bool(false)) {
        config.value("sliding_window");
    }
}
