//! The text of Gemma 3 from 4B on, which takes pictures too: the decoder of Gemma 3 under `text_config`, its weights behind
//! `language_model`.

use serde_json::{Map, Value};

use super::Arch;
use super::gemma3::Gemma3;
use crate::model::decoder_plan::{DecoderPlan, WeightNames};
use crate::source::config::ConfigReader;

/// What keys of `text_config` are where it leaves them out.
///
/// # Source
/// `Gemma3TextConfig` in transformers 4.57; other keys have the same meaning without `text_config`.
const DEFAULTS: [(&str, u64); 5] = [
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
];

/// Keys that stand beside `text_config` and are about the decoder too.
const SHARED: [&str; 6] =
    ["architectures", "model_type", "tie_word_embeddings", "quantization_config", "quantization", "compression_config"];

/// What the names of weights start with that are about pictures.
const PICTURES: &[&str] =
    &["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];

/// How `gemma3_multimodal` differs from the base plan.
///
/// # Source
/// `Gemma3Config` and `Gemma3ForConditionalGeneration` in transformers 4.57.
pub(super) struct Gemma3Multimodal;

impl Arch for Gemma3Multimodal {
    fn name(&self) -> &'static str {
        "the text of Gemma 3 with pictures"
    }

    fn family(&self) -> &'static str {
        Gemma3.family()
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["gemma3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Gemma3ForConditionalGeneration"]
    }

    fn text_config(&self, config: &Map<String, Value>) -> Option<Map<String, Value>> {
        let mut text = config.get("text_config")?.as_object()?.clone();
        for (key, default) in DEFAULTS {
            text.entry(key).or_insert_with(|| default.into());
        }
        for key in SHARED {
            if let Some(value) = config.get(key) {
                text.insert(key.to_owned(), value.clone());
            }
        }
        Some(text)
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let plan = Gemma3.plan(config);
        let weights = WeightNames { other_parts: PICTURES, ..plan.weights };
        DecoderPlan { weights, ..plan }
    }
}
