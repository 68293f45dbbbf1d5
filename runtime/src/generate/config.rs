//! `generation_config.json`: what ends a generation, and how the authors repeat themselves.

use std::path::Path;

use serde::Deserialize;

use crate::companion::{self, CompanionError};
use crate::tokenizer::{TextTokenizer, TokenizerConfig};

const GENERATION_CONFIG_JSON: &str = "generation_config.json";

/// Largest file that is read, in bytes; real ones have a few hundred.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What a checkpoint says about generation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct GenerationConfig {
    /// Tokens that end a text.
    #[serde(default)]
    eos_token_id: Option<OneOrMany>,
    /// The penalty for tokens that were seen.
    #[serde(default)]
    pub repetition_penalty: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl GenerationConfig {
    /// Reads the file of a directory; where it is not there, it says nothing.
    ///
    /// # Errors
    /// The file cannot be read or is malformed.
    pub fn open(directory: &Path) -> Result<Self, CompanionError> {
        Ok(companion::read_json(directory, GENERATION_CONFIG_JSON, MAX_CONFIG_BYTES)?.unwrap_or_default())
    }

    /// Tokens that end a text, as this file says.
    pub fn eos_tokens(&self) -> &[u32] {
        match &self.eos_token_id {
            Some(OneOrMany::One(token)) => std::slice::from_ref(token),
            Some(OneOrMany::Many(tokens)) => tokens,
            None => &[],
        }
    }

    /// Tokens that end a text: those of this file, or else the one that the tokenizer names.
    pub fn stop_tokens(&self, config: &TokenizerConfig, tokenizer: &TextTokenizer) -> Vec<u32> {
        match self.eos_tokens() {
            [] => {
                config.special_token("eos_token").and_then(|spelling| tokenizer.token(spelling)).into_iter().collect()
            }
            tokens => tokens.to_vec(),
        }
    }
}
