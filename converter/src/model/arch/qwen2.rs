//! Qwen2 and Qwen2.5: biases on queries, keys and values.

use super::Arch;
use super::base::{Defaults, base, qwen_layers};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::config::ConfigReader;

/// How `qwen2` differs from the base plan.
///
/// # Source
/// `Qwen2Config` and `Qwen2ForCausalLM` in transformers 4.57.
pub(super) struct Qwen2;

impl Arch for Qwen2 {
    fn name(&self) -> &'static str {
        "Qwen2"
    }

    fn family(&self) -> &'static str {
        "qwen"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["qwen2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Qwen2ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let defaults = Defaults { num_key_value_heads: Some(32), max_position_embeddings: 32_768, ..Defaults::LLAMA };
        let base = base(config, &defaults);
        DecoderPlan { qkv_bias: true, layers: qwen_layers(config, &base), ..base }
    }
}
