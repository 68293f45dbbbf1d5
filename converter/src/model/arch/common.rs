//! Keys that all decoders have, and limits on what they may say.
//!
//! The limits are far above every published model; they keep products of sizes within 64 bits and tables within memory.

use serde_json::json;

use crate::model::decoder_plan::AttentionKind;
use crate::source::config::{ConfigReader, shortened};

const WIDTH_LIMIT: usize = 1 << 20;
const VOCABULARY_LIMIT: usize = 1 << 24;
const LAYER_LIMIT: usize = 1 << 12;
const HEAD_LIMIT: usize = 1 << 14;
const HEAD_DIM_LIMIT: usize = 1 << 10;
const POSITION_LIMIT: usize = 1 << 30;

/// Stands in for a size that cannot be told, so that nothing else is found wrong because of it.
const HEAD_DIM_PLACEHOLDER: usize = 4;

/// The keys, under their names in config.json.
pub(super) struct Common {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_key_value_heads: usize,
    pub(super) vocab_size: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) rms_norm_eps: f64,
    pub(super) tie_word_embeddings: bool,
}

/// What an absent key means, where architectures differ.
pub(super) struct Defaults {
    /// None is as many as query heads.
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) max_position_embeddings: usize,
}

impl Common {
    pub(super) fn read(config: &mut ConfigReader<'_>, defaults: &Defaults) -> Self {
        let num_attention_heads = config.size("num_attention_heads", HEAD_LIMIT, None);
        let num_key_value_heads = match (config.value("num_key_value_heads"), defaults.num_key_value_heads) {
            (None, Some(default)) => default,
            _ => config.optional_size("num_key_value_heads", HEAD_LIMIT).unwrap_or(num_attention_heads),
        };
        if config.is_sound("num_attention_heads") && !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let expected = format!("a divisor of `num_attention_heads`, {num_attention_heads}");
            config.violation("num_key_value_heads", expected, num_key_value_heads.to_string());
        }
        // Two names of one function.
        if config.value("hidden_act").and_then(serde_json::Value::as_str) != Some("swish") {
            config.only("hidden_act", &json!("silu"));
        }
        Self {
            hidden_size: config.size("hidden_size", WIDTH_LIMIT, None),
            intermediate_size: config.size("intermediate_size", WIDTH_LIMIT, None),
            num_hidden_layers: config.size("num_hidden_layers", LAYER_LIMIT, None),
            num_attention_heads,
            num_key_value_heads,
            vocab_size: config.size("vocab_size", VOCABULARY_LIMIT, None),
            max_position_embeddings: config.size(
                "max_position_embeddings",
                POSITION_LIMIT,
                Some(defaults.max_position_embeddings),
            ),
            rms_norm_eps: config.number(
                "rms_norm_eps",
                "a number above 0 and below 1",
                |eps| eps > 0.0 && eps < 1.0,
                Some(1e-6),
            ),
            tie_word_embeddings: config.boolean("tie_word_embeddings", false),
        }
    }

    /// `head_dim`, or where it is absent or null `hidden_size / num_attention_heads`.
    pub(super) fn head_dim(&self, config: &mut ConfigReader<'_>) -> usize {
        match config.optional_size("head_dim", HEAD_DIM_LIMIT) {
            Some(head_dim) => even(config, head_dim),
            None if !config.is_sound("hidden_size") || !config.is_sound("num_attention_heads") => HEAD_DIM_PLACEHOLDER,
            None if self.hidden_size.is_multiple_of(self.num_attention_heads) => {
                even(config, self.hidden_size / self.num_attention_heads)
            }
            None => {
                let expected =
                    format!("a multiple of `num_attention_heads`, {}, or a `head_dim`", self.num_attention_heads);
                config.violation("hidden_size", expected, self.hidden_size.to_string());
                HEAD_DIM_PLACEHOLDER
            }
        }
    }

    /// `head_dim`, or where it is absent the default of the architecture.
    pub(super) fn head_dim_or(config: &mut ConfigReader<'_>, default: usize) -> usize {
        let head_dim = config.size("head_dim", HEAD_DIM_LIMIT, Some(default));
        even(config, head_dim)
    }

    /// One kind of attention in all layers.
    pub(super) fn uniform_attention(&self, kind: AttentionKind) -> Vec<AttentionKind> {
        vec![kind; self.num_hidden_layers]
    }

    /// The kinds of attention of the Qwen family.
    ///
    /// `sliding_window` acts only under `use_sliding_window`; without `layer_types`, it then acts from layer
    /// `max_window_layers` on.
    ///
    /// # Source
    /// `Qwen2Config` and `Qwen3Config` in transformers 4.57.
    pub(super) fn qwen_attention(&self, config: &mut ConfigReader<'_>) -> Vec<AttentionKind> {
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
        match config.value("layer_types").filter(|value| !value.is_null()) {
            None => (0..self.num_hidden_layers)
                .map(|layer| sliding.filter(|_| layer >= max_window_layers).unwrap_or_default())
                .collect(),
            Some(value) => {
                let expected = match sliding {
                    Some(_) => "`full_attention` or `sliding_attention`",
                    None => "`full_attention`, as no sliding window is in use",
                };
                let kind = |value: &serde_json::Value| match value.as_str() {
                    Some("full_attention") => Some(AttentionKind::Full),
                    Some("sliding_attention") => sliding,
                    _ => None,
                };
                let kinds = value.as_array().map(|kinds| kinds.iter().map(kind).collect::<Option<Vec<_>>>());
                match kinds {
                    Some(Some(kinds)) if kinds.len() == self.num_hidden_layers => kinds,
                    _ => {
                        let expected = format!("{} of {expected}", self.num_hidden_layers);
                        config.violation("layer_types", expected, shortened(value));
                        self.uniform_attention(AttentionKind::Full)
                    }
                }
            }
        }
    }
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
    if config.value("use_sliding_window") == Some(&serde_json::Value::Bool(false)) {
        config.value("sliding_window");
    }
}
