//! A model as a checkpoint of transformers: what a training starts from, and what it leaves to `anec convert`.

use std::path::Path;

use fs_err as fs;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::TrainError;
use super::parameters::{Layout, Parameters, Weight};
use crate::source::checkpoint::Checkpoint;

/// Reads the weights of a checkpoint whose config has this layout.
///
/// # Errors
/// A weight is not there, or not of its shape.
pub(super) fn read(checkpoint: &Checkpoint, layout: Layout, positions: usize) -> Result<Parameters, TrainError> {
    let mut values = vec![0.0; layout.count()];
    let mut rows = Vec::new();
    for (name, weight) in names(&layout) {
        let expected = shape_of(&layout, weight);
        let found = checkpoint.tensor(&name).map(|info| info.shape.to_vec());
        if found.as_ref() != Some(&expected) {
            let found = found.map_or_else(|| "no such tensor".to_owned(), |shape| format!("{shape:?}"));
            return Err(TrainError::Weight { name, expected, found });
        }
        let [count, columns] = layout.matrix(weight);
        checkpoint.rows_f32(&name, 0..count, &mut rows)?;
        checkpoint.release(&name);
        if is_rotated(weight) {
            rows = neighbours(&rows, columns, layout.shape.head_dim());
        }
        values.get_mut(layout.range(weight)).expect("every weight has its place").copy_from_slice(&rows);
    }
    Ok(Parameters { layout, positions, values })
}

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
        "rope_theta": shape.rope_theta,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": layout.tied,
        "torch_dtype": "float32",
    });
    fs::write(directory.join("config.json"), serde_json::to_string_pretty(&config)? + "\n")?;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = names(layout)
        .into_iter()
        .map(|(name, weight)| {
            let [_, columns] = layout.matrix(weight);
            let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let bytes = if is_rotated(weight) {
                bytes(&halves_apart(model.get(weight), columns, shape.head_dim()))
            } else {
                bytes(model.get(weight))
            };
            (name, shape_of(layout, weight), bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.clone(), view)));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    fs::write(directory.join("model.safetensors"), safetensors::serialize(views, None)?)?;
    Ok(())
}

/// Every weight once, by its name in transformers.
fn names(layout: &Layout) -> Vec<(String, Weight)> {
    let mut names = vec![
        ("model.embed_tokens.weight".to_owned(), Weight::Embedding),
        ("model.norm.weight".to_owned(), Weight::Norm),
    ];
    if !layout.tied {
        names.push(("lm_head.weight".to_owned(), Weight::Classifier));
    }
    for layer in 0..layout.shape.layers {
        let of_layer = [
            ("input_layernorm", Weight::AttentionNorm(layer)),
            ("self_attn.q_proj", Weight::Wq(layer)),
            ("self_attn.k_proj", Weight::Wk(layer)),
            ("self_attn.v_proj", Weight::Wv(layer)),
            ("self_attn.o_proj", Weight::Wo(layer)),
            ("post_attention_layernorm", Weight::FeedForwardNorm(layer)),
            ("mlp.gate_proj", Weight::W1(layer)),
            ("mlp.down_proj", Weight::W2(layer)),
            ("mlp.up_proj", Weight::W3(layer)),
        ];
        names.extend(of_layer.map(|(name, weight)| (format!("model.layers.{layer}.{name}.weight"), weight)));
    }
    names
}

fn shape_of(layout: &Layout, weight: Weight) -> Vec<usize> {
    let [rows, columns] = layout.matrix(weight);
    if columns == 1 { vec![rows] } else { vec![rows, columns] }
}

/// Whether the rows of a weight are rotated, so that their order matters.
fn is_rotated(weight: Weight) -> bool {
    matches!(weight, Weight::Wq(_) | Weight::Wk(_))
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

/// The inverse of [`halves_apart`].
fn neighbours(weight: &[f32], columns: usize, head_dim: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(weight.len());
    for head in weight.chunks_exact(head_dim * columns) {
        let (first, second) = head.split_at(head.len() / 2);
        for (first, second) in first.chunks_exact(columns).zip(second.chunks_exact(columns)) {
            rows.extend_from_slice(first);
            rows.extend_from_slice(second);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_come_back_in_their_order() {
        let rows: Vec<f32> = (0_u8..32).map(f32::from).collect();
        let apart = halves_apart(&rows, 2, 8);
        assert_eq!(apart[..8], [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 12.0, 13.0]);
        assert_eq!(neighbours(&apart, 2, 8), rows);
    }
}
