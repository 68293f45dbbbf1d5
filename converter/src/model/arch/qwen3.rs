//! Qwen3, dense: queries and keys normalized by head before they are rotated, heads of their own size.

use super::common::{Common, Defaults};
use super::{Arch, ArchChoice};
use crate::model::decoder_plan::DecoderPlan;
use crate::model::rope::RopePlan;
use crate::source::config::ConfigReader;

/// The adapter.
///
/// # Source
/// `Qwen3Config` and `Qwen3ForCausalLM` in transformers 4.57.
pub(super) struct Qwen3;

impl Arch for Qwen3 {
    fn name(&self) -> &'static str {
        "Qwen3"
    }

    fn family(&self) -> ArchChoice {
        ArchChoice::Qwen
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["qwen3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Qwen3ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let common = Common::read(config, &Defaults { num_key_value_heads: Some(32), max_position_embeddings: 32_768 });
        let head_dim = Common::head_dim_or(config, 128);
        let attention = common.qwen_attention(config);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        DecoderPlan {
            model_type: "qwen3".to_owned(),
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
            mlp_bias: false,
            qk_norm: true,
            rope: RopePlan::read(config, head_dim, common.max_position_embeddings),
            attention,
            tie_word_embeddings: common.tie_word_embeddings,
        }
    }
}
