//! Gemma 3, text only.

use serde_json::{Map, Value, json};

use super::Architecture;
use crate::source::gguf::error::GgufError;
use crate::source::gguf::keys::Keys;

/// Layers of the one model whose attention is scaled by what its hidden size would give a head.
///
/// # Source
/// `LLM_ARCH_GEMMA3` in llama.cpp's `src/llama-model.cpp`: `LLM_TYPE_27B`.
const LAYERS_OF_27B: u64 = 62;

/// The architecture.
pub(super) struct Gemma3;

impl Architecture for Gemma3 {
    fn name(&self) -> &'static str {
        "gemma3"
    }

    fn config(&self, keys: &mut Keys<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError> {
        config.insert("model_type".to_owned(), json!("gemma3_text"));
        config.insert("architectures".to_owned(), json!(["Gemma3ForCausalLM"]));
        config.insert("hidden_activation".to_owned(), json!("gelu_pytorch_tanh"));
        if keys.float("rope.freq_base")?.is_none() {
            config.insert("rope_theta".to_owned(), json!(1e6));
        }
        config.insert("rope_local_base_freq".to_owned(), json!(keys.float("rope.freq_base_swa")?.unwrap_or(10_000.0)));
        if let Some(window) = keys.size("attention.sliding_window")? {
            config.insert("sliding_window".to_owned(), json!(window));
        }
        if let Some(pattern) = keys.size("attention.sliding_window_pattern")? {
            config.insert("sliding_window_pattern".to_owned(), json!(pattern));
        }
        for (ours, theirs) in [
            ("final_logit_softcapping", "final_logit_softcapping"),
            ("attn_logit_softcapping", "attn_logit_softcapping"),
        ] {
            if let Some(cap) = keys.float(theirs)?.filter(|cap| *cap != 0.0) {
                config.insert(ours.to_owned(), json!(cap));
            }
        }
        let size = |key: &str| config.get(key).and_then(Value::as_u64).unwrap_or(0);
        let scalar = if size("num_hidden_layers") == LAYERS_OF_27B {
            size("hidden_size") / size("num_attention_heads").max(1)
        } else {
            size("head_dim")
        };
        config.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
        Ok(())
    }

    fn modules(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ]
    }

    fn norm_offset(&self) -> f32 {
        1.0
    }
}
