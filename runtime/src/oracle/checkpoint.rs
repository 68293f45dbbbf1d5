//! The tensors of a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Component, Path};

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use fs_err as fs;
use serde_json::Value;

use super::config::OracleConfig;
use super::kinds::{HeadNorms, Norms};
use super::{DEVICE, OracleError};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// The tensor whose name tells what others start with.
const EMBEDDINGS: &str = "embed_tokens.weight";

/// What the names of most checkpoints start with.
pub(super) const MODEL: &str = "model.";

/// The tensors of a checkpoint, as they are stored.
pub struct Checkpoint {
    tensors: HashMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads `model.safetensors`, or the files that its index names.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn open(directory: &Path) -> Result<Self, OracleError> {
        let index = directory.join(INDEX);
        // As transformers does where both are there.
        let is_sharded = index.exists() && !directory.join(SINGLE).exists();
        let files: BTreeSet<String> = if is_sharded {
            let text = fs::read_to_string(&index).map_err(|source| OracleError::Io { path: index.clone(), source })?;
            let json: Value =
                serde_json::from_str(&text).map_err(|source| OracleError::Json { path: index.clone(), source })?;
            let names = json.get("weight_map").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        } else {
            BTreeSet::from([SINGLE.to_owned()])
        };
        let mut tensors = HashMap::new();
        for name in files {
            if !Path::new(&name).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(OracleError::Config {
                    key: INDEX.to_owned(),
                    expected: "names of files beside it or below".to_owned(),
                    found: name,
                });
            }
            let path = directory.join(&name);
            let bytes = fs::read(&path).map_err(|source| OracleError::Io { path, source })?;
            tensors.extend(candle_core::safetensors::load_buffer(&bytes, &DEVICE)?);
        }
        Ok(Self { tensors })
    }

    /// Tensors that are in memory.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Tensor::dims)
    }

    /// The elements of a tensor in fp32, row-major.
    ///
    /// # Errors
    /// There is none of this name, or its elements are no floats.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, OracleError> {
        Ok(self.tensor(name)?.flatten_all()?.to_vec1()?)
    }

    /// Rows of a tensor in fp32: what is under these indices of its first axis.
    ///
    /// # Errors
    /// There is none of this name, it has not so many rows, or its elements are no floats.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, OracleError> {
        let missing =
            || OracleError::Tensor { name: name.to_owned(), expected: Vec::new(), found: "missing".to_owned() };
        let rows = self.tensors.get(name).ok_or_else(missing)?.narrow(0, rows.start, rows.len())?;
        Ok(rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    /// A tensor in fp32.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, OracleError> {
        let missing =
            || OracleError::Tensor { name: name.to_owned(), expected: Vec::new(), found: "missing".to_owned() };
        Ok(self.tensors.get(name).ok_or_else(missing)?.to_dtype(DType::F32)?)
    }

    pub(super) fn optional(&self, name: &str) -> Result<Option<Tensor>, OracleError> {
        if self.tensors.contains_key(name) { self.tensor(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(super) fn variables(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.tensors.clone(), DType::F32, &DEVICE)
    }

    /// What the names of all tensors but the head's start with: `model.` in checkpoints of models that predict tokens, nothing
    /// in those of bare decoders, something longer in those of models with more than text in them.
    pub(super) fn prefix(&self) -> &str {
        self.tensors.keys().filter_map(|name| name.strip_suffix(EMBEDDINGS)).min().unwrap_or(MODEL)
    }

    /// Requires every tensor that the configuration asks for.
    pub(super) fn check(&self, config: &OracleConfig) -> Result<(), OracleError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let prefix = self.prefix();
        self.require(&format!("{prefix}embed_tokens.weight"), &[config.vocab_size, hidden])?;
        self.require(&format!("{prefix}norm.weight"), &[hidden])?;
        if !config.tie_word_embeddings && prefix == MODEL {
            self.require("lm_head.weight", &[config.vocab_size, hidden])?;
        }
        for layer in 0..config.num_hidden_layers {
            let require =
                |name: &str, shape: &[usize]| self.require(&format!("{prefix}layers.{layer}.{name}.weight"), shape);
            let kind = config.kind;
            let norms: &[&str] = match kind.norms {
                Norms::Before => &["input_layernorm", "post_attention_layernorm"],
                Norms::Behind => &["post_attention_layernorm", "post_feedforward_layernorm"],
                Norms::Around => &[
                    "input_layernorm",
                    "post_attention_layernorm",
                    "pre_feedforward_layernorm",
                    "post_feedforward_layernorm",
                ],
            };
            for name in norms {
                require(name, &[hidden])?;
            }
            if kind.fused {
                require("self_attn.qkv_proj", &[queries + 2 * keys, hidden])?;
                require("mlp.gate_up_proj", &[2 * inner, hidden])?;
            } else {
                require("self_attn.q_proj", &[queries, hidden])?;
                require("self_attn.k_proj", &[keys, hidden])?;
                require("self_attn.v_proj", &[keys, hidden])?;
                require("mlp.gate_proj", &[inner, hidden])?;
                require("mlp.up_proj", &[inner, hidden])?;
            }
            require("self_attn.o_proj", &[hidden, queries])?;
            require("mlp.down_proj", &[hidden, inner])?;
            let head_norms = match kind.head_norms {
                HeadNorms::None => None,
                HeadNorms::Each => Some([config.head_dim; 2]),
                HeadNorms::Together => Some([queries, keys]),
            };
            if let Some([query, key]) = head_norms {
                require("self_attn.q_norm", &[query])?;
                require("self_attn.k_norm", &[key])?;
            }
        }
        Ok(())
    }

    fn require(&self, name: &str, expected: &[usize]) -> Result<(), OracleError> {
        let found = self.shape(name);
        if found == Some(expected) {
            return Ok(());
        }
        let found = found.map_or_else(|| "missing".to_owned(), |shape| format!("{shape:?}"));
        Err(OracleError::Tensor { name: name.to_owned(), expected: expected.to_vec(), found })
    }
}
