//! A trained model as a checkpoint of transformers, which `anec convert` takes.

use std::path::Path;

use fs_err as fs;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::TrainError;
use super::parameters::{Parameters, ROPE_THETA, Weight};

/// Writes config.json and model.safetensors.
pub(super) fn write(directory: &Path, model: &Parameters) -> Result<(), TrainError> {
    let (layout, shape) = (&model.layout, &model.layout.shape);
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": model.positions,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": ROPE_THETA,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": layout.tied,
        "torch_dtype": "float32",
    });
    fs::write(directory.join("config.json"), serde_json::to_string_pretty(&config)? + "\n")?;
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, weight: Weight, values: &[f32]| {
        let [rows, columns] = layout.matrix(weight);
        let shape = if columns == 1 { vec![rows] } else { vec![rows, columns] };
        tensors.push((name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    };
    add("model.embed_tokens.weight".to_owned(), Weight::Embedding, model.get(Weight::Embedding));
    add("model.norm.weight".to_owned(), Weight::Norm, model.get(Weight::Norm));
    if !layout.tied {
        add("lm_head.weight".to_owned(), Weight::Classifier, model.get(Weight::Classifier));
    }
    for layer in 0..shape.layers {
        for (name, weight) in [
            ("input_layernorm", Weight::AttentionNorm(layer)),
            ("self_attn.v_proj", Weight::Wv(layer)),
            ("self_attn.o_proj", Weight::Wo(layer)),
            ("post_attention_layernorm", Weight::FeedForwardNorm(layer)),
            ("mlp.gate_proj", Weight::W1(layer)),
            ("mlp.down_proj", Weight::W2(layer)),
            ("mlp.up_proj", Weight::W3(layer)),
        ] {
            add(format!("model.layers.{layer}.{name}.weight"), weight, model.get(weight));
        }
        for (name, weight) in [("q_proj", Weight::Wq(layer)), ("k_proj", Weight::Wk(layer))] {
            let rows = halves_apart(model.get(weight), shape.dim, shape.head_dim());
            add(format!("model.layers.{layer}.self_attn.{name}.weight"), weight, &rows);
        }
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.clone(), view)));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    fs::write(directory.join("model.safetensors"), safetensors::serialize(views, None)?)?;
    Ok(())
}

/// Rows of queries or keys in the order of transformers, which rotates channel `i` of a head with `i + head_dim / 2`, where
/// llama2.c rotates neighbours.
fn halves_apart(weight: &[f32], columns: usize, head_dim: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(weight.len());
    for head in weight.chunks_exact(head_dim * columns) {
        for parity in [0, 1] {
            head.chunks_exact(columns).skip(parity).step_by(2).for_each(|row| rows.extend_from_slice(row));
        }
    }
    rows
}
