//! The architectures of GGUF files: one file each, one line each in [`ARCHITECTURES`].
//!
//! A row says what the metadata is in the words of config.json, and what llama.cpp calls and does to the weights. What the
//! config means is the [adapters](crate::model::arch)' business, as for every other checkpoint.

mod gemma3;
mod llama;
mod qwen2;
mod qwen3;

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::decode::Change;
use super::error::GgufError;
use super::keys::Keys;
use super::rope;

/// An architecture as llama.cpp stores it.
pub(super) trait Architecture: Sync {
    /// The value of `general.architecture`.
    fn name(&self) -> &'static str;

    /// What config.json says besides the sizes: `model_type` and `architectures` at least.
    fn config(&self, keys: &mut Keys<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError>;

    /// Modules of a layer that are called otherwise than in [`MODULES`], by their name in the file.
    fn modules(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether the rows of every head of queries and keys are interleaved, as llama.cpp's rotation wants them.
    fn interleaves(&self) -> bool {
        false
    }

    /// What llama.cpp adds to the weights of norms.
    fn norm_offset(&self) -> f32 {
        0.0
    }
}

/// All architectures.
pub(super) static ARCHITECTURES: &[&dyn Architecture] = &[&gemma3::Gemma3, &llama::Llama, &qwen2::Qwen2, &qwen3::Qwen3];

/// Modules of a layer by their names in the file.
///
/// # Source
/// `TENSOR_NAMES` of llama.cpp's `gguf-py/gguf/constants.py`, and transformers' names of the modules.
const MODULES: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Modules of the model by their names in the file.
const MODEL_MODULES: &[(&str, &str)] =
    &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// The tensor of rotary factors, which is read as a part of the config.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The architecture of a file.
pub(super) fn find(keys: &mut Keys<'_>) -> Result<&'static dyn Architecture, GgufError> {
    let found = keys.string("general.architecture")?.unwrap_or_default();
    ARCHITECTURES.iter().copied().find(|row| row.name() == found).ok_or_else(|| GgufError::Architecture {
        found: found.chars().take(64).collect(),
        supported: ARCHITECTURES.iter().map(|row| row.name()).collect(),
    })
}

/// What config.json would say of a file.
pub(super) fn config(architecture: &dyn Architecture, keys: &mut Keys<'_>) -> Result<Map<String, Value>, GgufError> {
    let mut config = Map::new();
    let hidden_size = keys.required_size("embedding_length")?;
    let heads = keys.required_size("attention.head_count")?;
    let head_dim = keys.size("attention.key_length")?.unwrap_or(hidden_size / heads.max(1));
    for key in ["attention.value_length", "rope.dimension_count"] {
        keys.only_size(key, head_dim)?;
    }
    config.insert("hidden_size".to_owned(), json!(hidden_size));
    config.insert("num_attention_heads".to_owned(), json!(heads));
    config.insert("num_key_value_heads".to_owned(), json!(keys.size("attention.head_count_kv")?.unwrap_or(heads)));
    config.insert("head_dim".to_owned(), json!(head_dim));
    config.insert("num_hidden_layers".to_owned(), json!(keys.required_size("block_count")?));
    config.insert("intermediate_size".to_owned(), json!(keys.required_size("feed_forward_length")?));
    config.insert("max_position_embeddings".to_owned(), json!(keys.required_size("context_length")?));
    config.insert("rms_norm_eps".to_owned(), json!(keys.required_float("attention.layer_norm_rms_epsilon")?));
    config.insert("rope_theta".to_owned(), json!(keys.float("rope.freq_base")?.unwrap_or(10_000.0)));
    config.insert("rope_scaling".to_owned(), rope::scaling(keys)?);
    // Counts the tokens of the tokenizer; the embeddings may have more rows.
    keys.ask("vocab_size");
    let vocab_size = keys.tensor_shape("token_embd.weight").and_then(|shape| shape.first().copied());
    config.insert("vocab_size".to_owned(), json!(vocab_size));
    config.insert("tie_word_embeddings".to_owned(), json!(keys.tensor_shape("output.weight").is_none()));
    // Models without experts may say so.
    let experts = keys.size("expert_count")?.unwrap_or(0);
    keys.ask("expert_used_count");
    if experts > 0 {
        config.insert("num_local_experts".to_owned(), json!(experts));
    }
    for key in ["attention.causal", "tensor_data_layout"] {
        keys.ask(key);
    }
    for (key, token) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        if let Some(id) = keys.metadata.optional_unsigned(&format!("tokenizer.ggml.{token}_token_id"))? {
            config.insert(key.to_owned(), json!(id));
        }
    }
    architecture.config(keys, &mut config)?;
    // Other keys go where those of config.json go that nothing is known about: they are told or refused by their names.
    config.extend(keys.unasked());
    Ok(config)
}

/// The name that transformers gives a tensor, and what llama.cpp did to it; none of one that is no weight.
///
/// Names that are not known are kept, and will be called unknown.
pub(super) fn tensor(
    architecture: &dyn Architecture,
    name: &str,
    config: &Map<String, Value>,
) -> Option<(String, Change)> {
    if name == ROPE_FACTORS {
        return None;
    }
    let unknown = || Some((name.to_owned(), Change::default()));
    let Some((path, parameter)) = name.rsplit_once('.') else { return unknown() };
    let Some((layer, module)) = path.strip_prefix("blk.").and_then(|path| path.split_once('.')) else {
        let Some((_, module)) = MODEL_MODULES.iter().find(|(other, _)| *other == path) else { return unknown() };
        let added = if path == "output_norm" { architecture.norm_offset() } else { 0.0 };
        return Some((format!("{module}.{parameter}"), Change { added, ..Change::default() }));
    };
    let named = architecture.modules().iter().chain(MODULES).find(|(other, _)| *other == module);
    let Some((_, found)) = named else { return unknown() };
    let size = |key: &str| config.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let is_rotated = architecture.interleaves() && ["attn_q", "attn_k"].contains(&module);
    let change = Change {
        interleaved: size("head_dim").filter(|_| is_rotated),
        added: if module.ends_with("norm") { architecture.norm_offset() } else { 0.0 },
    };
    Some((format!("model.layers.{layer}.{found}.{parameter}"), change))
}

/// Whether any layer has a tensor of this name.
fn any_layer_has(keys: &Keys<'_>, name: &str, layers: Range<u64>) -> bool {
    layers.into_iter().any(|layer| keys.tensor_shape(&format!("blk.{layer}.{name}")).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(architecture: &dyn Architecture, name: &str) -> Option<(String, Change)> {
        let config = json!({"head_dim": 64});
        tensor(architecture, name, config.as_object().expect("an object"))
    }

    #[test]
    fn tensors_get_the_names_of_transformers() {
        let name = |name: &str| named(&qwen3::Qwen3, name).map(|(name, _)| name);
        assert_eq!(name("blk.7.attn_k_norm.weight").as_deref(), Some("model.layers.7.self_attn.k_norm.weight"));
        assert_eq!(name("blk.0.ffn_norm.weight").as_deref(), Some("model.layers.0.post_attention_layernorm.weight"));
        assert_eq!(name("output.weight").as_deref(), Some("lm_head.weight"));
        assert_eq!(name("blk.0.ssm_a").as_deref(), Some("blk.0.ssm_a"));
        assert_eq!(name(ROPE_FACTORS), None);
        let gemma = named(&gemma3::Gemma3, "blk.1.ffn_norm.weight");
        let change = Change { added: 1.0, interleaved: None };
        assert_eq!(gemma, Some(("model.layers.1.pre_feedforward_layernorm.weight".to_owned(), change)));
    }

    #[test]
    fn queries_and_keys_of_llama_are_interleaved_and_those_of_qwen_are_not() {
        let of = |architecture, name| named(architecture, name).and_then(|(_, change)| change.interleaved);
        assert_eq!(of(&llama::Llama, "blk.0.attn_q.weight"), Some(64));
        assert_eq!(of(&llama::Llama, "blk.0.attn_k.bias"), Some(64));
        assert_eq!(of(&llama::Llama, "blk.0.attn_v.weight"), None);
        assert_eq!(of(&qwen2::Qwen2, "blk.0.attn_q.weight"), None);
    }
}
