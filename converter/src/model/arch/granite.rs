//! Granite 3: Llama with factors of embeddings, attention, residuals and logits.

use super::Arch;
use super::base::{Defaults, base};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::config::ConfigReader;

/// How `granite` differs from the base plan.
///
/// # Source
/// `GraniteConfig` and `GraniteForCausalLM` in transformers 4.57.
pub(super) struct Granite;

impl Arch for Granite {
    fn name(&self) -> &'static str {
        "Granite"
    }

    fn family(&self) -> &'static str {
        "granite"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["granite"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["GraniteForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let base = base(config, &Defaults::LLAMA);
        // One key for all four projections, the output's included.
        let attention_bias = config.boolean("attention_bias", false);
        let mlp_bias = config.boolean("mlp_bias", false);
        let mut factor = |key| config.number(key, "a number above 0", |factor| factor > 0.0, Some(1.0));
        let [embedding, attention, residual, logits] =
            ["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"].map(&mut factor);
        #[expect(clippy::cast_possible_truncation, reason = "weights are scaled in f32")]
        let embedding_scale = embedding as f32;
        DecoderPlan {
            qkv_bias: attention_bias,
            o_bias: attention_bias,
            mlp_bias,
            embedding_scale,
            query_scale: attention,
            residual_multiplier: residual,
            logit_scale: logits.recip(),
            ..base
        }
    }
}
