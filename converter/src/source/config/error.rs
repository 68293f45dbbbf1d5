//! What can be wrong with config.json: always the checkpoint's fault, or the `--arch` flag's.

use std::fmt;

use crate::error::Hint;
use crate::source::checkpoint::listed;

/// A config that cannot be converted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No `model_type`.
    #[error("Cannot tell the architecture: config.json has no `model_type`")]
    MissingModelType,
    /// A `model_type` without an adapter.
    #[error("Cannot convert `model_type` `{found}`: it is not supported")]
    UnknownModelType {
        /// The value.
        found: String,
        /// The closest one that is supported, where one is close.
        nearest: Option<&'static str>,
        /// All that are supported, sorted.
        supported: Vec<&'static str>,
    },
    /// A flag that contradicts the config.
    #[error("Cannot use `--arch {flag}`: config.json has `model_type` `{model_type}`")]
    Flag {
        /// The flag's value.
        flag: &'static str,
        /// The config's value.
        model_type: String,
        /// The flag's value that fits.
        fitting: &'static str,
    },
    /// A head other than next-token prediction.
    #[error("Cannot convert `{found}`: expected {}", .expected.join(" or "))]
    ModelClass {
        /// The entry of `architectures`.
        found: String,
        /// Those that can be converted.
        expected: &'static [&'static str],
    },
    /// A way of quantizing that is known in other forms.
    #[error("Cannot convert a quantized checkpoint: config.json has `{key}`: expected {expected}, found {found}")]
    Quantization {
        /// The key.
        key: String,
        /// What is known.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Weights that are quantized already.
    #[error("Cannot convert a quantized checkpoint: config.json has `{key}`{}", method_text(.method.as_ref()))]
    Quantized {
        /// The key that says so.
        key: &'static str,
        /// Its `quant_method`.
        method: Option<String>,
    },
    /// A mixture of experts.
    #[error("Cannot convert a mixture of experts: config.json has `{key}` {found}")]
    MixtureOfExperts {
        /// The key that says so.
        key: &'static str,
        /// Its value.
        found: String,
    },
    /// A model with more than text in it.
    #[error("Cannot convert a multimodal model: config.json has `{key}`")]
    Multimodal {
        /// The key that says so.
        key: &'static str,
    },
    /// Values that are not as they have to be.
    #[error("Cannot use config.json: it has values that cannot be{}", listed(.0))]
    Violations(
        /// All of them, sorted by key.
        Vec<Violation>,
    ),
    /// Keys that may change what the model computes.
    #[error("Cannot use config.json: unknown maths, it has keys that are not known to be harmless{}", listed(.0))]
    UnknownKeys(
        /// All of them, sorted by key.
        Vec<UnknownKey>,
    ),
}

/// A value of config.json that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The key; keys of an object inside are joined by a dot.
    pub key: String,
    /// What would be accepted.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, expected, found } = self;
        write!(f, "`{key}`: expected {expected}, found {found}")
    }
}

/// A key of config.json that no adapter knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownKey {
    /// The key; keys of an object inside are joined by a dot.
    pub key: String,
    /// Its value, shortened.
    pub found: String,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, found } = self;
        write!(f, "`{key}`: {found}")
    }
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MissingModelType => {
                "add `\"model_type\": \"llama\"` (or gemma3_text, mistral, qwen2, qwen3) to config.json if you know what the model is"
                    .to_owned()
            }
            Self::UnknownModelType { nearest, supported, .. } => {
                let supported = supported.join(", ");
                match nearest {
                    Some(nearest) => format!("did you mean `{nearest}`? Supported are {supported}"),
                    None => format!("supported are {supported}"),
                }
            }
            Self::Flag { fitting, .. } => format!("use `--arch {fitting}` or `--arch auto`"),
            Self::ModelClass { .. } => "only models that predict the next token can be converted".to_owned(),
            Self::Quantization { .. } => "use the unquantized original of this model".to_owned(),
            Self::Quantized { .. } => "use the unquantized original of this model; anec quantizes by itself (`--lut`)".to_owned(),
            Self::MixtureOfExperts { .. } => "only dense models can be converted".to_owned(),
            Self::Multimodal { .. } => {
                "save the language model alone as its own checkpoint, if it is of an architecture that `anec convert --help` lists".to_owned()
            }
            Self::Violations(_) => return None,
            Self::UnknownKeys(keys) => {
                let flags: Vec<String> = keys.iter().map(|unknown| format!("--ignore-config-key {}", unknown.key)).collect();
                format!("if you know that they do not change what the model computes, add `{}`", flags.join(" "))
            }
        };
        Some(hint)
    }
}

fn method_text(method: Option<&String>) -> String {
    method.map_or_else(String::new, |method| format!(" of method `{method}`"))
}
