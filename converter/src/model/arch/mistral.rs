//! Mistral 7B, Mistral Nemo and what is built like them.

use super::Arch;
use super::base::{Defaults, base, window, with_attention};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::config::ConfigReader;

/// Positions that a query sees where config.json does not say; null is no window at all.
const DEFAULT_SLIDING_WINDOW: usize = 4096;

/// How `mistral` differs from the base plan.
///
/// # Source
/// `MistralConfig` and `MistralForCausalLM` in transformers 4.57.
pub(super) struct Mistral;

impl Arch for Mistral {
    fn name(&self) -> &'static str {
        "Mistral"
    }

    fn family(&self) -> &'static str {
        "mistral"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["mistral"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["MistralForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let defaults = Defaults { num_key_value_heads: Some(8), max_position_embeddings: 131_072, ..Defaults::LLAMA };
        let base = base(config, &defaults);
        let attention = window(config, DEFAULT_SLIDING_WINDOW);
        DecoderPlan { layers: with_attention(&base, |_| attention), ..base }
    }
}
