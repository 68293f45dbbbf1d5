//! Llama 2, 3, 3.1, 3.2 and 3.3, and the many models that are built like them.

use super::common::{Common, Defaults, unused_window};
use super::{Arch, ArchChoice};
use crate::model::decoder_plan::{AttentionKind, DecoderPlan};
use crate::model::rope::RopePlan;
use crate::source::config::ConfigReader;

/// The adapter.
///
/// # Source
/// `LlamaConfig` and `LlamaForCausalLM` in transformers 4.57.
pub(super) struct Llama;

impl Arch for Llama {
    fn name(&self) -> &'static str {
        "Llama"
    }

    fn family(&self) -> ArchChoice {
        ArchChoice::Llama
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["llama"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["LlamaForCausalLM", "LLaMAForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let common = Common::read(config, &Defaults { num_key_value_heads: None, max_position_embeddings: 2048 });
        let head_dim = common.head_dim(config);
        unused_window(config);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        DecoderPlan {
            model_type: "llama".to_owned(),
            hidden_size: common.hidden_size,
            intermediate_size: common.intermediate_size,
            num_hidden_layers: common.num_hidden_layers,
            num_attention_heads: common.num_attention_heads,
            num_key_value_heads: common.num_key_value_heads,
            head_dim,
            vocab_size: common.vocab_size,
            max_position_embeddings: common.max_position_embeddings,
            rms_norm_eps: common.rms_norm_eps,
            qkv_bias: attention_bias,
            o_bias: attention_bias,
            mlp_bias: config.boolean("mlp_bias", false),
            qk_norm: false,
            rope: RopePlan::read(config, head_dim, common.max_position_embeddings),
            attention: common.uniform_attention(AttentionKind::Full),
            tie_word_embeddings: common.tie_word_embeddings,
        }
    }
}
