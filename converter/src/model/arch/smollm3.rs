//! SmolLM3: Llama with layers that are not told positions.

use serde_json::{Value, json};

use super::Arch;
use super::base::{Defaults, base, layer_types, with_attention};
use crate::model::decoder_plan::{AttentionKind, DecoderPlan};
use crate::model::rope::RopePlan;
use crate::source::config::{ConfigReader, shortened};

/// Base of the wavelengths where config.json does not say.
const DEFAULT_THETA: f64 = 2_000_000.0;

/// Where config.json lists no layers, every so many layers one is not told positions.
const DEFAULT_INTERVAL: usize = 4;

const INTERVAL_LIMIT: usize = 1 << 12;
const WINDOW_LIMIT: usize = 1 << 30;

/// How `smollm3` differs from the base plan.
///
/// # Source
/// `SmolLM3Config` and `SmolLM3ForCausalLM` in transformers 4.57.
pub(super) struct SmolLm3;

impl Arch for SmolLm3 {
    fn name(&self) -> &'static str {
        "SmolLM3"
    }

    fn family(&self) -> &'static str {
        "smollm3"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["smollm3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["SmolLM3ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let defaults = Defaults {
            num_key_value_heads: Some(4),
            max_position_embeddings: 32_768,
            tie_word_embeddings: true,
            ..Defaults::LLAMA
        };
        let says_theta = config.value("rope_theta").is_some_and(|theta| !theta.is_null());
        let base = base(config, &defaults);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        let mlp_bias = config.boolean("mlp_bias", false);
        let rotates = rotates(config, base.num_hidden_layers);
        let window = config.optional_size("sliding_window", WINDOW_LIMIT);
        let uses_window = config.boolean("use_sliding_window", false);
        let sliding = window.filter(|_| uses_window).map(|window| AttentionKind::Sliding { window });
        let kind = |layer: usize| match sliding {
            Some(sliding) if !rotates.get(layer).copied().unwrap_or(true) => sliding,
            _ => AttentionKind::Full,
        };
        let mut layers = layer_types(config, &base, sliding).unwrap_or_else(|| with_attention(&base, kind));
        for (layer, rotates) in layers.iter_mut().zip(rotates) {
            let rope = layer.rope.take().filter(|_| rotates);
            layer.rope = rope.map(|rope| if says_theta { rope } else { RopePlan { theta: DEFAULT_THETA, ..rope } });
        }
        DecoderPlan { qkv_bias: attention_bias, o_bias: attention_bias, mlp_bias, layers, ..base }
    }
}

/// Which layers rotate queries and keys: those with a 1 in `no_rope_layers`.
fn rotates(config: &mut ConfigReader<'_>, layers: usize) -> Vec<bool> {
    let interval = config.size("no_rope_layer_interval", INTERVAL_LIMIT, Some(DEFAULT_INTERVAL));
    let by_interval = || (1..=layers).map(|number| !number.is_multiple_of(interval)).collect();
    let Some(value) = config.value("no_rope_layers").filter(|value| !value.is_null()) else { return by_interval() };
    let flag = |value: &Value| [json!(0), json!(1)].iter().position(|flag| flag == value).map(|flag| flag == 1);
    let flags = value.as_array().and_then(|flags| flags.iter().map(flag).collect::<Option<Vec<bool>>>());
    flags.filter(|flags| flags.len() == layers).unwrap_or_else(|| {
        config.violation("no_rope_layers", format!("{layers} of 0 or 1"), shortened(value));
        by_interval()
    })
}
