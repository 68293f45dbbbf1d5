//! Llama, and Mistral, which llama.cpp stores as Llama.

use serde_json::{Map, Value, json};

use super::{Architecture, any_layer_has};
use crate::source::gguf::error::GgufError;
use crate::source::gguf::keys::Keys;

/// The architecture.
pub(super) struct Llama;

impl Architecture for Llama {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn config(&self, keys: &mut Keys<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError> {
        config.insert("hidden_act".to_owned(), json!("silu"));
        if let Some(window) = keys.size("attention.sliding_window")? {
            config.insert("model_type".to_owned(), json!("mistral"));
            config.insert("architectures".to_owned(), json!(["MistralForCausalLM"]));
            config.insert("sliding_window".to_owned(), json!(window));
            return Ok(());
        }
        config.insert("model_type".to_owned(), json!("llama"));
        config.insert("architectures".to_owned(), json!(["LlamaForCausalLM"]));
        // The first layers tell; a layer without what the others have is missing a tensor.
        for (key, tensor) in [("attention_bias", "attn_q.bias"), ("mlp_bias", "ffn_gate.bias")] {
            config.insert(key.to_owned(), json!(any_layer_has(keys, tensor, 0..2)));
        }
        Ok(())
    }

    fn interleaves(&self) -> bool {
        true
    }
}
