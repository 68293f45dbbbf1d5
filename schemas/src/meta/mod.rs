//! `meta.yaml` and `meta.json`: what a client needs to know to run a converted directory.
//!
//! The keys are those that ANEMLL's clients read. Some of these clients read the file with `grep` and `cut`, so the
//! indentation, the order of the keys and plain numbers are part of the format.
//!
//! # Source
//! `generate_meta_yaml.py`, `tests/chat.py` and `YAMLConfig.swift` of ANEMLL 0.3.5.

mod glue;
mod lut;
mod yaml;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use glue::Glue;
pub use lut::LutBits;

/// Name of the YAML form within a converted directory.
pub const META_YAML: &str = "meta.yaml";

/// Name of the JSON form within a converted directory.
pub const META_JSON: &str = "meta.json";

/// The version of the format that is written. Clients choose their behavior by it.
pub const META_VERSION: &str = "0.3.5";

/// The content of a meta file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetaYaml {
    /// The only key.
    pub model_info: ModelInfo,
}

/// What people want to know, and the parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The model's name.
    #[serde(default)]
    pub name: String,
    /// The version of the format, at least [`META_VERSION`] when written.
    #[serde(default)]
    pub version: String,
    /// What the model is, in lines.
    #[serde(default)]
    pub description: String,
    /// The license.
    #[serde(default)]
    pub license: String,
    /// Who converted the model.
    #[serde(default)]
    pub author: String,
    /// What runs the model.
    #[serde(default)]
    pub framework: String,
    /// What the converter is written in.
    #[serde(default)]
    pub language: String,
    /// The `model_type` of the checkpoint.
    #[serde(default)]
    pub architecture: String,
    /// The word `monolithic` where one file holds the whole model, as ANEMLL's clients expect; else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_type: Option<String>,
    /// How to run the model.
    pub parameters: Parameters,
    /// What the model was made of; none in files of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// What a model was made of, and by what. No client needs any of it.
///
/// Some clients search the whole file for `KEY:` of the keys above, so no key here ends in one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The program with its version.
    #[serde(default)]
    pub converter: String,
    /// The checkpoint: `OWNER/MODEL` where it came from a hub, else what its directory is called.
    #[serde(default)]
    pub source: String,
    /// The commit of the checkpoint on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_revision: Option<String>,
    /// The command that makes it anew, without directories of the machine that it was made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What palettes are calibrated with: `none`, `builtin`, or the file.
    #[serde(default)]
    pub calibration: String,
    /// Tokens that end an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eos_token_ids: Vec<u64>,
}

/// How to run the model. Flags that are false, and keys without a value, are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the file")]
pub struct Parameters {
    /// Tokens that the KV cache holds.
    pub context_length: u64,
    /// Tokens that a prefill step takes.
    pub batch_size: u64,
    /// Positions that rotations are known for, where a conversation may be longer than the context that it attends to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_positions: Option<u64>,
    /// Palette bits of a model in one file, those of its decoder layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_bits: Option<LutBits>,
    /// Output channels that share a palette of a model in one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_per_channel: Option<u64>,
    /// Palette bits of the embeddings.
    #[serde(default)]
    pub lut_embeddings: LutBits,
    /// Output channels that share a palette of the embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_embeddings_per_channel: Option<u64>,
    /// Palette bits of the decoder layers, where they have files of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_ffn: Option<LutBits>,
    /// Output channels that share a palette of the decoder layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_ffn_per_channel: Option<u64>,
    /// Palette bits of the LM head.
    #[serde(default)]
    pub lut_lmhead: LutBits,
    /// Output channels that share a palette of the LM head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_lmhead_per_channel: Option<u64>,
    /// Packages that hold the decoder layers and nothing else.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// What the names of the packages start with.
    #[serde(default)]
    pub model_prefix: String,
    /// The embeddings package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<String>,
    /// The LM head package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lm_head: Option<String>,
    /// The first package of decoder layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffn: Option<String>,
    /// The first package of decoder layers that takes batches, where they have packages of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pf: Option<String>,
    /// The package of the whole model, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monolithic_model: Option<String>,
    /// Outputs that the logits are split over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_lm_head: Option<u64>,
    /// Whether the LM head gives the best token of each split instead of logits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub argmax_in_model: bool,
    /// Tokens of the vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<u64>,
    /// Tokens of each split of the LM head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lm_head_chunk_sizes: Vec<u64>,
    /// Whether packages of decoder layers that take batches are not those that take a token.
    #[serde(default, skip_serializing_if = "is_false")]
    pub split_rotate: bool,
    /// Positions that the state of layers with a window keeps, where functions of their own shift it. Clients that see the key
    /// call `infer_rotate` and `prefill_rotate` from that position on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<u64>,
    /// Whether prefill writes the KV cache at a position that is given at run time. Clients that do not see this run
    /// prefill one token at a time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefill_dynamic_slice: bool,
    /// Whether one state keeps the whole context of all layers, those with a window included.
    #[serde(default, skip_serializing_if = "is_false")]
    pub single_cache: bool,
    /// Functions of a model in one file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// Rows of the one function that the chunks have, where they do not have `infer` and `prefill`. The LM head takes as
    /// many. ANEMLL's clients cannot run such a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_length: Option<u64>,
    /// Rows of the function `verify` of chunks and head, where they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_length: Option<u64>,
    /// Positions that the state of layers with a window keeps, where it is a ring that every function writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_length: Option<u64>,
    /// The longest window of these layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_window: Option<u64>,
    /// Channels of the residual stream, where a client keeps the KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<u64>,
    /// Heads of keys and values, where a client keeps the KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<u64>,
    /// Channels of a head, where a client keeps the KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u64>,
    /// Layers of each chunk, where a client keeps the KV cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunk_layers: Vec<u64>,
    /// Tokens that the layers of each mask look back over, themselves included, where a client makes masks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention_windows: Vec<u64>,
    /// Channels that each rotary embedding rotates, where a client passes rotations on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotary_dims: Vec<u64>,
    /// The contract that the models follow, by its name in [`CONTRACTS`](crate::contract::CONTRACTS); ANEMLL's where there
    /// is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The models by their roles, without extensions and in order, where `embeddings`, `ffn` and `lm_head` do not name them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Vec<String>>,
    /// What a client computes between the programs, where it computes anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glue: Option<Glue>,
    /// How to sample, as the checkpoint recommends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_sampling: Option<RecommendedSampling>,
}

/// How to sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecommendedSampling {
    /// Whether to sample at all, rather than take the best token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_sample: Option<bool>,
    /// Divisor of the logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Probability mass to sample from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Number of tokens to sample from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A meta file that cannot be read, or should not be written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The YAML is malformed, or a key is missing or has the wrong type.
    #[error("`{META_YAML}` is malformed: {message}")]
    Yaml {
        /// What the parser says.
        message: String,
    },
    /// The JSON is malformed, or a key is missing or has the wrong type.
    #[error("`{META_JSON}` is malformed")]
    Json(#[from] serde_json::Error),
    /// Clients would take the file for an old one.
    #[error("`version` is `{found}`, expected {META_VERSION} or later")]
    Version {
        /// The version.
        found: String,
    },
    /// A number that the file cannot hold.
    #[error("`{key}` is {found}, expected a finite number")]
    NotFinite {
        /// The key.
        key: &'static str,
        /// The number.
        found: f64,
    },
}

impl MetaYaml {
    /// Reads the text of a `meta.yaml`, of this project or of ANEMLL. Keys that are not known are ignored.
    ///
    /// # Errors
    /// The text is not YAML, or a key that clients cannot do without is missing.
    pub fn from_yaml(text: &str) -> Result<Self, MetaError> {
        let mut meta: Self =
            serde_saphyr::from_str(text).map_err(|error| MetaError::Yaml { message: error.to_string() })?;
        let description = &mut meta.model_info.description;
        description.truncate(description.trim_end_matches('\n').len());
        Ok(meta)
    }

    /// Reads the text of a `meta.json`. Keys that are not known are ignored.
    ///
    /// # Errors
    /// The text is not JSON, or a key that clients cannot do without is missing.
    pub fn from_json(text: &str) -> Result<Self, MetaError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The text of `meta.yaml`. `conversion` follows as comments, for people who look into a problem.
    ///
    /// # Errors
    /// The version is one that clients treat otherwise, or a number is not finite.
    pub fn to_yaml(&self, conversion: &[(String, String)]) -> Result<String, MetaError> {
        self.check()?;
        Ok(yaml::format(&self.model_info, conversion))
    }

    /// The text of `meta.json`: the same keys in the same order.
    ///
    /// # Errors
    /// As [`Self::to_yaml`].
    pub fn to_json(&self) -> Result<String, MetaError> {
        self.check()?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    fn check(&self) -> Result<(), MetaError> {
        let version = parse_version(&self.model_info.version);
        if version.is_none() || version < parse_version(META_VERSION) {
            return Err(MetaError::Version { found: self.model_info.version.clone() });
        }
        let sampling = self.model_info.parameters.recommended_sampling.clone().unwrap_or_default();
        for (key, number) in [("temperature", sampling.temperature), ("top_p", sampling.top_p)] {
            if let Some(found) = number.filter(|number| !number.is_finite()) {
                return Err(MetaError::NotFinite { key, found });
            }
        }
        let glue = self.model_info.parameters.glue.as_ref();
        match glue.and_then(|glue| glue.numbers().into_iter().find(|(_, number)| !number.is_finite())) {
            Some((key, found)) => Err(MetaError::NotFinite { key, found }),
            None => Ok(()),
        }
    }
}

fn parse_version(text: &str) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}
