//! Qwen2 and Qwen2.5: biases on queries, keys and values.

use super::common::{Common, Defaults};
use super::{Arch, ArchChoice};
use crate::model::decoder_plan::DecoderPlan;
use crate::model::rope::RopePlan;
use crate::source::config::ConfigReader;

/// The adapter.
///
/// # Source
/// `Qwen2Config` and `Qwen2ForCausalLM` in transformers 4.57.
pub(super) struct Qwen2;

impl Arch for Qwen2 {
    fn name(&self) -> &'static str {
        "Qwen2"
    }

    fn family(&self) -> ArchChoice {
        ArchChoice::Qwen
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["qwen2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Qwen2ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let common = Common::read(config, &Defaults { num_key_value_heads: Some(32), max_position_embeddings: 32_768 });
        let head_dim = common.head_dim(config);
        let attention = common.qwen_attention(config);
        DecoderPlan {
            model_type: "qwen2".to_owned(),
            hidden_size: common.hidden_size,
            intermediate_size: common.intermediate_size,
            num_hidden_layers: common.num_hidden_layers,
            num_attention_heads: common.num_attention_heads,
            num_key_value_heads: common.num_key_value_heads,
            head_dim,
            vocab_size: common.vocab_size,
            max_position_embeddings: common.max_position_embeddings,
            rms_norm_eps: common.rms_norm_eps,
            qkv_bias: true,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope: RopePlan::read(config, head_dim, common.max_position_embeddings),
            attention,
            tie_word_embeddings: common.tie_word_embeddings,
        }
    }
}
