//! A flat file of weights, as the CPU half of kernels for the Neural Engine reads it: seven sizes, then every weight in the order in
//! which a token passes them, all in fp32 or all in fp16.
//!
//! The file is that of a Qwen 2.5 whose head is its embeddings: what its reader does not read, it knows ([`RMS_NORM_EPS`],
//! [`ROPE_THETA`]). Weights lie as in transformers, so nothing is put in another order.
//!
//! # Source
//! maderix/ANE, pull request 26, `inference/convert_weights.py` and `qwen_ane_infer.h`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::beside::Beside;
use super::checkpoint::{
    Checkpoint, CheckpointError, Companions, Entry, Notes, Shard, SourceDtype, Tensor, has_extension,
};
use super::generated::GeneratedFiles;
use super::llama2c::header::{LEGACY_BYTES, Sizes};
use super::{Source, config};

/// Added to the mean square in norms.
pub(crate) const RMS_NORM_EPS: f64 = 1e-6;

/// The base of the rotations.
pub(crate) const ROPE_THETA: f64 = 1e6;

/// A weight of a flat file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlatWeight {
    /// Token embeddings.
    Embeddings,
    /// A parameter of a module of a layer, with its rows and columns; vectors have one column.
    Layer(usize, &'static str, &'static str),
    /// The norm after the last layer.
    Norm,
}

/// The weights in their order.
pub(crate) fn order(layers: usize) -> Vec<FlatWeight> {
    const OF_LAYER: [(&str, &str); 12] = [
        ("input_layernorm", "weight"),
        ("self_attn.q_proj", "weight"),
        ("self_attn.k_proj", "weight"),
        ("self_attn.v_proj", "weight"),
        ("self_attn.o_proj", "weight"),
        ("self_attn.q_proj", "bias"),
        ("self_attn.k_proj", "bias"),
        ("self_attn.v_proj", "bias"),
        ("post_attention_layernorm", "weight"),
        ("mlp.gate_proj", "weight"),
        ("mlp.up_proj", "weight"),
        ("mlp.down_proj", "weight"),
    ];
    let of_layer = |layer: usize| OF_LAYER.map(|(module, parameter)| FlatWeight::Layer(layer, module, parameter));
    let layers = (0..layers).flat_map(of_layer);
    std::iter::once(FlatWeight::Embeddings).chain(layers).chain([FlatWeight::Norm]).collect()
}

impl FlatWeight {
    /// Its name in transformers.
    fn name(self) -> String {
        match self {
            Self::Embeddings => "model.embed_tokens.weight".to_owned(),
            Self::Layer(layer, module, parameter) => format!("model.layers.{layer}.{module}.{parameter}"),
            Self::Norm => "model.norm.weight".to_owned(),
        }
    }

    fn shape(self, sizes: &Sizes) -> Vec<usize> {
        let Sizes { dim, hidden, vocabulary, .. } = *sizes;
        match self {
            Self::Embeddings => vec![vocabulary, dim],
            Self::Norm
            | Self::Layer(_, "input_layernorm" | "post_attention_layernorm", _)
            | Self::Layer(_, "self_attn.q_proj", "bias") => vec![dim],
            Self::Layer(_, _, "bias") => vec![sizes.kv_size()],
            Self::Layer(_, "self_attn.k_proj" | "self_attn.v_proj", _) => vec![sizes.kv_size(), dim],
            Self::Layer(_, "mlp.gate_proj" | "mlp.up_proj", _) => vec![hidden, dim],
            Self::Layer(_, "mlp.down_proj", _) => vec![dim, hidden],
            Self::Layer(..) => vec![dim, dim],
        }
    }
}

/// The source.
pub(super) struct Flat;

/// The sizes and the element type of a file that has exactly the weights of its header.
fn recognized(bytes: &[u8]) -> Option<(Sizes, SourceDtype)> {
    let sizes = Sizes::read(bytes, 0).ok().filter(|sizes| !sizes.is_negative)?;
    let biases = (sizes.layers * (sizes.dim + 2 * sizes.kv_size())) as u128;
    let length = |dtype: SourceDtype| LEGACY_BYTES as u128 + (sizes.weights() + biases) * dtype.size() as u128;
    let dtype = [SourceDtype::F32, SourceDtype::F16].into_iter().find(|dtype| length(*dtype) == bytes.len() as u128)?;
    Some((sizes, dtype))
}

impl Source for Flat {
    /// A file whose length is that of its header with biases.
    fn recognizes(&self, path: &Path) -> bool {
        let is_named_so =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| has_extension(name, &["bin"]));
        is_named_so && path.is_file() && Shard::map(path).is_ok_and(|shard| recognized(shard.bytes()).is_some())
    }

    fn open(&self, path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError> {
        let shard = Shard::map(path)?;
        let damaged = || CheckpointError::NotADirectory { path: path.to_owned() };
        let (sizes, dtype) = recognized(shard.bytes()).ok_or_else(damaged)?;
        let mut start = LEGACY_BYTES;
        let mut tensors = BTreeMap::new();
        for weight in order(sizes.layers) {
            let shape = weight.shape(&sizes);
            let bytes = start..start + shape.iter().product::<usize>() * dtype.size();
            start = bytes.end;
            tensors.insert(weight.name(), Tensor::plain(0, Entry { shape, dtype: Ok(dtype), bytes }));
        }
        let config = config_of(&sizes);
        config::check_kind(&config)?;
        let beside = Beside::of(path, linked)?;
        let found = format!("a flat file of the weights of a Qwen 2, in {dtype:?}");
        let notes = Notes { found: Some(found), warnings: beside.warnings() };
        let make = GeneratedFiles(Box::new(beside));
        let companions = Companions::Generated { make, made: OnceLock::new() };
        Ok(Checkpoint { path: path.to_owned(), config, shards: vec![shard], tensors, companions, notes })
    }

    fn config(&self, path: &Path) -> Result<Map<String, Value>, CheckpointError> {
        Ok(self.open(path, &[])?.config)
    }
}

/// What config.json would say.
fn config_of(sizes: &Sizes) -> Map<String, Value> {
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.dim,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.positions,
        "hidden_act": "silu",
        "rms_norm_eps": RMS_NORM_EPS,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": true,
        "use_sliding_window": false,
        "torch_dtype": "float32",
    });
    config.as_object().cloned().unwrap_or_default()
}
