//! Kinds of models that no adapter can convert, told from config.json before anything else is read.

use serde_json::{Map, Value};

use super::reader::shortened;
use super::{ConfigError, is_unset};

/// Keys of quantized checkpoints: transformers and compressed-tensors write the first, MLX the second.
const QUANTIZED_KEYS: [&str; 3] = ["quantization_config", "quantization", "compression_config"];

/// Keys that count or place experts.
const EXPERT_KEYS: [&str; 7] = [
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "decoder_sparse_step",
    "moe",
];

/// Keys that hold the config of one part of a larger model.
const PART_KEYS: [&str; 7] = [
    "vision_config",
    "audio_config",
    "text_config",
    "llm_config",
    "thinker_config",
    "speech_config",
    "mm_vision_tower",
];

/// Values of `model_type` of models that take more than text and whose decoder an adapter finds by itself.
const DECODER_WITHIN: [&str; 1] = ["gemma3"];

/// Refuses quantized, mixture-of-experts and multimodal models.
///
/// # Errors
/// The config is of such a model.
pub(crate) fn check_kind(config: &Map<String, Value>) -> Result<(), ConfigError> {
    let set = |key: &str| config.get(key).filter(|value| !is_unset(value));
    for key in QUANTIZED_KEYS {
        if let Some(value) = set(key) {
            let method = value.get("quant_method").and_then(Value::as_str).map(str::to_owned);
            return Err(ConfigError::Quantized { key, method });
        }
    }
    let model_type = set("model_type").and_then(Value::as_str);
    let has_decoder = model_type.is_some_and(|model_type| DECODER_WITHIN.contains(&model_type));
    for key in PART_KEYS {
        if set(key).is_some() && !has_decoder {
            return Err(ConfigError::Multimodal { key });
        }
    }
    for key in EXPERT_KEYS {
        if let Some(value) = set(key).filter(|value| value.as_u64() != Some(0)) {
            return Err(ConfigError::MixtureOfExperts { key, found: shortened(value) });
        }
    }
    if let Some(found) = model_type.filter(|model_type| *model_type == "mixtral" || model_type.ends_with("_moe")) {
        return Err(ConfigError::MixtureOfExperts { key: "model_type", found: format!("`{found}`") });
    }
    Ok(())
}
