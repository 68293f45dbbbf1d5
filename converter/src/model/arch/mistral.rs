//! Mistral 7B, Mistral Nemo and what is built like them.

use super::common::{Common, Defaults, window};
use super::{Arch, ArchChoice};
use crate::model::decoder_plan::DecoderPlan;
use crate::model::rope::RopePlan;
use crate::source::config::ConfigReader;

/// Positions that a query sees where config.json does not say; null is no window at all.
const DEFAULT_SLIDING_WINDOW: usize = 4096;

/// The adapter.
///
/// # Source
/// `MistralConfig` and `MistralForCausalLM` in transformers 4.57.
pub(super) struct Mistral;

impl Arch for Mistral {
    fn name(&self) -> &'static str {
        "Mistral"
    }

    fn family(&self) -> ArchChoice {
        ArchChoice::Mistral
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["mistral"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["MistralForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let common = Common::read(config, &Defaults { num_key_value_heads: Some(8), max_position_embeddings: 131_072 });
        let head_dim = common.head_dim(config);
        let attention = common.uniform_attention(window(config, DEFAULT_SLIDING_WINDOW));
        DecoderPlan {
            model_type: "mistral".to_owned(),
            hidden_size: common.hidden_size,
            intermediate_size: common.intermediate_size,
            num_hidden_layers: common.num_hidden_layers,
            num_attention_heads: common.num_attention_heads,
            num_key_value_heads: common.num_key_value_heads,
            head_dim,
            vocab_size: common.vocab_size,
            max_position_embeddings: common.max_position_embeddings,
            rms_norm_eps: common.rms_norm_eps,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope: RopePlan::read(config, head_dim, common.max_position_embeddings),
            attention,
            tie_word_embeddings: common.tie_word_embeddings,
        }
    }
}
