//! OLMo 2: norms behind attention and MLP and none before them, queries and keys normalized over all heads together.

use super::Arch;
use super::base::{Defaults, base};
use crate::model::decoder_plan::{DecoderPlan, NormPlacement, QkNorm};
use crate::source::config::ConfigReader;

/// How `olmo2` differs from the base plan.
///
/// # Source
/// `Olmo2Config` and `Olmo2ForCausalLM` in transformers 4.57.
pub(super) struct Olmo2;

impl Arch for Olmo2 {
    fn name(&self) -> &'static str {
        "OLMo 2"
    }

    fn family(&self) -> &'static str {
        "olmo"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["olmo2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Olmo2ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let base = base(config, &Defaults { rms_norm_eps: 1e-5, ..Defaults::LLAMA });
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        DecoderPlan {
            qkv_bias: attention_bias,
            o_bias: attention_bias,
            qk_norm: QkNorm::Whole,
            norm_placement: NormPlacement::Post,
            ..base
        }
    }
}
