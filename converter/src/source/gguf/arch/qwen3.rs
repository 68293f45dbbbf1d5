//! Qwen3, dense.

use serde_json::{Map, Value, json};

use super::{Architecture, any_layer_has};
use crate::source::gguf::error::GgufError;
use crate::source::gguf::keys::Keys;

/// The architecture.
pub(super) struct Qwen3;

impl Architecture for Qwen3 {
    fn name(&self) -> &'static str {
        "qwen3"
    }

    fn config(&self, keys: &mut Keys<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError> {
        config.insert("model_type".to_owned(), json!("qwen3"));
        config.insert("architectures".to_owned(), json!(["Qwen3ForCausalLM"]));
        config.insert("hidden_act".to_owned(), json!("silu"));
        config.insert("attention_bias".to_owned(), json!(any_layer_has(keys, "attn_q.bias", 0..2)));
        Ok(())
    }
}
