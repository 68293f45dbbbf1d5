//! The files of llama2.c: a header of seven numbers, then all weights in fp32.
//!
//! Weights are grouped by kind over all layers, and rotations are of neighbouring channels, where transformers pairs channel `i`
//! of a head with `i + head_dim / 2`; rows of queries and keys are put in its order here. The tokenizer is another file, so
//! tokenizer.json and what belongs to it are taken from the directory of the weights, where they are there.
//!
//! # Source
//! karpathy/llama2.c, `export.py`: `legacy_export` (version 0) and `version1_export`; `run.c` for the constants that files do not
//! tell, and for the tokens that start and end a text.

mod decode;
mod error;
pub(super) mod header;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use self::decode::Halves;
use self::header::{Header, MAGIC, Sizes, Version};
use super::beside::Beside;
use super::checkpoint::{
    Checkpoint, CheckpointError, Companions, Entry, Notes, Part, Shard, SourceDtype, Tensor, has_extension,
};
use super::generated::GeneratedFiles;
use super::{Source, config};

pub use self::error::Llama2cError;

const EXTENSION: &str = "bin";

/// Bytes of an element.
const ELEMENT_BYTES: usize = 4;

/// Added to the mean square in norms: `1e-5f` of `rmsnorm` in `run.c`.
pub(crate) const NORM_EPS: f64 = 1e-5;

/// The base of the rotations: `10000.0f` in `forward` of `run.c`.
pub(crate) const ROPE_THETA: f64 = 10_000.0;

/// The source.
pub(super) struct Llama2c;

impl Source for Llama2c {
    /// A file that says so by its name or its first bytes.
    fn recognizes(&self, path: &Path) -> bool {
        let starts_so = || {
            let mut start = [0; MAGIC.len()];
            let read = fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut start));
            read.is_ok() && start == MAGIC
        };
        let is_named_so =
            || path.file_name().and_then(|name| name.to_str()).is_some_and(|name| has_extension(name, &[EXTENSION]));
        path.is_file() && (is_named_so() || starts_so())
    }

    fn open(&self, path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError> {
        open(path, linked)
    }

    fn config(&self, path: &Path) -> Result<Map<String, Value>, CheckpointError> {
        Ok(open(path, &[])?.config)
    }
}

fn open(path: &Path, linked: &[PathBuf]) -> Result<Checkpoint, CheckpointError> {
    let shard = Shard::map(path)?;
    let failed = |source| CheckpointError::Llama2c { path: path.to_owned(), source: Box::new(source) };
    let header = Header::read(shard.bytes()).map_err(failed)?;
    let tensors = tensors(&header);
    let beside = Beside::of(path, linked)?;
    let config = config_of(&header, &beside);
    config::check_kind(&config)?;
    let warnings = beside.warnings();
    let found = match header.version {
        Version::Legacy => "a checkpoint of llama2.c without a version",
        Version::One => "a checkpoint of llama2.c, version 1",
    };
    let make = GeneratedFiles(Box::new(beside));
    Ok(Checkpoint {
        path: path.to_owned(),
        config,
        shards: vec![shard],
        tensors,
        companions: Companions::Generated { make, made: OnceLock::new() },
        notes: Notes { found: Some(found.to_owned()), warnings },
    })
}

/// What lies where in the file: tensors by their names in transformers, their rows and columns, and their bytes.
fn places(header: &Header) -> Vec<(Option<String>, [usize; 2], Range<usize>)> {
    let Sizes { dim, hidden, layers, vocabulary, positions, .. } = header.sizes;
    let (kv, half) = (header.sizes.kv_size(), header.sizes.head_dim() / 2);
    let layer = |module: &'static str, rows: usize, columns: usize| {
        let name = move |layer: usize| Some(format!("model.layers.{layer}.{module}.weight"));
        (0..layers).map(name).map(move |name| (name, [rows, columns])).collect::<Vec<_>>()
    };
    let model = |name: &str, rows: usize, columns: usize| vec![(Some(format!("{name}.weight")), [rows, columns])];
    let attention_norm = layer("input_layernorm", dim, 1);
    let attention = [
        layer("self_attn.q_proj", dim, dim),
        layer("self_attn.k_proj", kv, dim),
        layer("self_attn.v_proj", kv, dim),
        layer("self_attn.o_proj", dim, dim),
    ]
    .concat();
    let mlp_norm = layer("post_attention_layernorm", dim, 1);
    let mlp =
        [layer("mlp.gate_proj", hidden, dim), layer("mlp.down_proj", dim, hidden), layer("mlp.up_proj", hidden, dim)]
            .concat();
    let (embedding, norm) = (model("model.embed_tokens", vocabulary, dim), model("model.norm", dim, 1));
    // Cosines and sines, which follow from the positions.
    let tables = vec![(None, [positions, half]); 2];
    let classifier = if header.is_tied { Vec::new() } else { model("lm_head", vocabulary, dim) };
    let order = match header.version {
        Version::Legacy => vec![embedding, attention_norm, attention, mlp_norm, mlp, norm, tables, classifier],
        Version::One => vec![attention_norm, mlp_norm, norm, embedding, attention, mlp, classifier],
    };
    let mut start = header.bytes();
    let place = |(name, [rows, columns]): (Option<String>, [usize; 2])| {
        let bytes = start..start + rows * columns * ELEMENT_BYTES;
        start = bytes.end;
        (name, [rows, columns], bytes)
    };
    order.into_iter().flatten().map(place).collect()
}

fn tensors(header: &Header) -> BTreeMap<String, Tensor> {
    let tensor = |(name, [rows, columns], bytes): (Option<String>, [usize; 2], Range<usize>)| {
        let name = name?;
        let shape = if name.ends_with("norm.weight") { vec![rows] } else { vec![rows, columns] };
        let is_rotated = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        let tensor = if is_rotated {
            let rows = Halves { head: header.sizes.head_dim(), columns };
            Tensor::decoded(shape, vec![Part { shard: 0, bytes }], Box::new(rows))
        } else {
            Tensor::plain(0, Entry { shape, dtype: Ok(SourceDtype::F32), bytes })
        };
        Some((name, tensor))
    };
    places(header).into_iter().filter_map(tensor).collect()
}

/// What config.json would say.
fn config_of(header: &Header, beside: &Beside) -> Map<String, Value> {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": header.sizes.vocabulary,
        "hidden_size": header.sizes.dim,
        "intermediate_size": header.sizes.hidden,
        "num_hidden_layers": header.sizes.layers,
        "num_attention_heads": header.sizes.heads,
        "num_key_value_heads": header.sizes.kv_heads,
        "max_position_embeddings": header.sizes.positions,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_THETA,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": header.is_tied,
        "torch_dtype": "float32",
    });
    // Where nothing else is known of the tokens, they are those of llama2.c: 1 starts a text, and the next one where it comes again.
    if let Some(config) = config.as_object_mut().filter(|_| !beside.has_tokenizer() && header.sizes.vocabulary > 2) {
        config.insert("bos_token_id".to_owned(), json!(1));
        config.insert("eos_token_id".to_owned(), json!([1, 2]));
    }
    config.as_object().cloned().unwrap_or_default()
}
