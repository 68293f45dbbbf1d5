//! From the `--arch` flag and a config's `model_type` to an adapter.

use clap::ValueEnum;
use serde_json::{Map, Value};
use strsim::levenshtein;

use super::{ARCHS, Arch};
use crate::source::config::{ConfigError, shortened};

/// What `--arch` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchChoice {
    /// Whatever config.json says.
    Auto,
    /// Llama 2 and 3, and what is built like them.
    Llama,
    /// Qwen2, Qwen2.5 and Qwen3, whichever config.json says.
    Qwen,
    /// Mistral 7B and what is built like it.
    Mistral,
    /// Gemma 3, text only.
    Gemma,
    /// Granite 3 and 4, dense.
    Granite,
    /// SmolLM3.
    #[value(name = "smollm3")]
    SmolLm3,
}

impl ArchChoice {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Llama => "llama",
            Self::Qwen => "qwen",
            Self::Mistral => "mistral",
            Self::Gemma => "gemma",
            Self::Granite => "granite",
            Self::SmolLm3 => "smollm3",
        }
    }
}

/// The adapter for a config.
///
/// # Errors
/// The config has no `model_type`, none that is supported, or one that the choice rules out.
pub fn select(choice: ArchChoice, config: &Map<String, Value>) -> Result<&'static dyn Arch, ConfigError> {
    let value = config.get("model_type").filter(|value| !value.is_null()).ok_or(ConfigError::MissingModelType)?;
    let Some(model_type) = value.as_str() else {
        return Err(unknown(shortened(value)));
    };
    let Some(arch) = ARCHS.iter().find(|arch| arch.model_types().contains(&model_type)) else {
        return Err(unknown(model_type.chars().take(64).collect()));
    };
    if choice == ArchChoice::Auto || choice == arch.family() {
        return Ok(*arch);
    }
    let fitting = arch.family().word();
    Err(ConfigError::Flag { flag: choice.word(), model_type: model_type.to_owned(), fitting })
}

fn unknown(found: String) -> ConfigError {
    let mut supported: Vec<&str> = ARCHS.iter().flat_map(|arch| arch.model_types().iter().copied()).collect();
    supported.sort_unstable();
    let distances = supported.iter().map(|known| (levenshtein(&found, known), *known));
    // More than half of the letters changed is another word.
    let nearest = distances.min().filter(|(distance, known)| 2 * distance <= known.len()).map(|(_, known)| known);
    ConfigError::UnknownModelType { found, nearest, supported }
}
