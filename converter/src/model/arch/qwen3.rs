//! Qwen3, dense: queries and keys normalized by head before they are rotated, heads of their own size.

use super::Arch;
use super::base::{Defaults, base, qwen_layers};
use crate::model::decoder_plan::{DecoderPlan, QkNorm};
use crate::source::config::ConfigReader;

/// How `qwen3` differs from the base plan.
///
/// # Source
/// `Qwen3Config` and `Qwen3ForCausalLM` in transformers 4.57.
pub(super) struct Qwen3;

impl Arch for Qwen3 {
    fn name(&self) -> &'static str {
        "Qwen3"
    }

    fn family(&self) -> &'static str {
        "qwen"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["qwen3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Qwen3ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let defaults = Defaults {
            num_key_value_heads: Some(32),
            head_dim: Some(128),
            max_position_embeddings: 32_768,
            ..Defaults::LLAMA
        };
        let base = base(config, &defaults);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        let layers = qwen_layers(config, &base);
        DecoderPlan { qkv_bias: attention_bias, o_bias: attention_bias, qk_norm: QkNorm::Heads, layers, ..base }
    }
}
