//! Qwen2 and Qwen2.5.

use serde_json::{Map, Value, json};

use super::Architecture;
use crate::source::gguf::error::GgufError;
use crate::source::gguf::keys::Keys;

/// The architecture.
pub(super) struct Qwen2;

impl Architecture for Qwen2 {
    fn name(&self) -> &'static str {
        "qwen2"
    }

    fn config(&self, _keys: &mut Keys<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError> {
        config.insert("model_type".to_owned(), json!("qwen2"));
        config.insert("architectures".to_owned(), json!(["Qwen2ForCausalLM"]));
        config.insert("hidden_act".to_owned(), json!("silu"));
        // The class derives it, and has no such key.
        config.remove("head_dim");
        Ok(())
    }
}
