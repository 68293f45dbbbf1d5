//! Llama 2, 3, 3.1, 3.2 and 3.3, and the many models that are built like them.

use super::Arch;
use super::base::{Defaults, base, unused_window};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::config::ConfigReader;

/// How `llama` differs from the base plan.
///
/// # Source
/// `LlamaConfig` and `LlamaForCausalLM` in transformers 4.57.
pub(super) struct Llama;

impl Arch for Llama {
    fn name(&self) -> &'static str {
        "Llama"
    }

    fn family(&self) -> &'static str {
        "llama"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["llama"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["LlamaForCausalLM", "LLaMAForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let base = base(config, &Defaults::LLAMA);
        unused_window(config);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        let mlp_bias = config.boolean("mlp_bias", false);
        DecoderPlan { qkv_bias: attention_bias, o_bias: attention_bias, mlp_bias, ..base }
    }
}
