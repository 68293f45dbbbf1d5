//! An independent fp32 forward pass of a checkpoint, to compare converted models with.
//!
//! Nothing here is shared with the converter: the configuration is read again, and the computation is candle's. Where
//! candle-transformers implements the configuration, its model code runs (`library.rs`); where it does not, such as RoPE
//! scaling by yarn, a sliding window or Gemma 3, a plain forward pass on candle's tensors does (`plain.rs`).
//!
//! Memory: six bytes a parameter, two as stored and four as computed.

mod checkpoint;
mod config;
mod kinds;
mod library;
mod plain;
mod rope;

use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

pub use checkpoint::Checkpoint;
pub use config::{OracleConfig, RopeScaling};
use library::LibraryModel;
use plain::PlainModel;
pub(crate) use rope::{Turn, rotation_table};

/// The device that everything is computed on.
pub(crate) const DEVICE: Device = Device::Cpu;

/// A checkpoint that cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// A file cannot be read.
    #[error("Cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A JSON file is malformed.
    #[error("{} is malformed", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key of `config.json` has a value that is not understood.
    #[error("`{key}` of `config.json` is {found}, expected {expected}")]
    Config {
        /// The key.
        key: String,
        /// What is understood.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A tensor is missing or has another shape.
    #[error("the tensor `{name}` is {found}, expected {expected:?}")]
    Tensor {
        /// Its name.
        name: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// What there is.
        found: String,
    },
    /// The computation failed.
    #[error("Cannot compute the checkpoint")]
    Compute(#[from] candle_core::Error),
    /// Too many tokens.
    #[error("{found} tokens, expected 1 to {limit}")]
    Length {
        /// Tokens given.
        found: usize,
        /// Tokens that the checkpoint was made for.
        limit: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} is outside of the vocabulary of {vocab_size}")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
}

/// Which forward pass to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Implementation {
    /// candle-transformers where it implements the configuration, else the plain one.
    #[default]
    Automatic,
    /// The plain one always.
    Plain,
}

/// A checkpoint that is ready to be computed.
pub struct Oracle {
    config: OracleConfig,
    model: OracleModel,
    /// The LM head, where it was asked for.
    head: Option<Tensor>,
}

enum OracleModel {
    Library(Box<LibraryModel>),
    Plain(Box<PlainModel>),
}

impl Oracle {
    /// Opens a Hugging Face checkpoint directory.
    ///
    /// # Errors
    /// Files are missing or malformed, or the configuration is not understood.
    pub fn open(directory: &Path, implementation: Implementation) -> Result<Self, OracleError> {
        let config = OracleConfig::read(&directory.join("config.json"))?;
        let checkpoint = Checkpoint::open(directory)?;
        Self::new(config, &checkpoint, implementation)
    }

    /// The forward pass of tensors that are in memory.
    ///
    /// # Errors
    /// Tensors are missing or have other shapes than the configuration asks for.
    pub fn new(
        config: OracleConfig,
        checkpoint: &Checkpoint,
        implementation: Implementation,
    ) -> Result<Self, OracleError> {
        checkpoint.check(&config)?;
        let library = match implementation {
            Implementation::Automatic => LibraryModel::new(&config, checkpoint)?,
            Implementation::Plain => None,
        };
        let model = match library {
            Some(model) => OracleModel::Library(Box::new(model)),
            None => OracleModel::Plain(Box::new(PlainModel::new(&config, checkpoint)?)),
        };
        Ok(Self { config, model, head: None })
    }

    /// Loads the LM head, to be used on the hidden states of models that have none.
    ///
    /// # Errors
    /// The checkpoint does not have it.
    pub fn load_head(&mut self, checkpoint: &Checkpoint) -> Result<(), OracleError> {
        self.head = Some(library::head(&self.config, checkpoint)?);
        Ok(())
    }

    /// The logits of a normalized hidden state; `None` where the head was not loaded.
    ///
    /// # Errors
    /// The hidden state is not as long as the model's.
    pub fn head_logits(&self, hidden_state: &[f32]) -> Result<Option<Vec<f32>>, OracleError> {
        let Some(head) = &self.head else { return Ok(None) };
        let row = Tensor::from_slice(hidden_state, (1, hidden_state.len()), &DEVICE)?;
        Ok(Some(row.matmul(&head.t()?)?.flatten_all()?.to_vec1()?))
    }

    /// The configuration.
    pub fn config(&self) -> &OracleConfig {
        &self.config
    }

    /// Whose forward pass runs, for reports.
    pub fn implementation(&self) -> String {
        match &self.model {
            OracleModel::Library(model) => format!("candle-transformers {}", model.name()),
            OracleModel::Plain(_) => "plain forward pass on candle".to_owned(),
        }
    }

    /// The logits after every token of a sequence, which starts at position 0.
    ///
    /// # Errors
    /// There are no tokens, more than the checkpoint takes, or one is outside of the vocabulary.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, OracleError> {
        let limit = self.config.max_position_embeddings;
        if tokens.is_empty() || tokens.len() > limit {
            return Err(OracleError::Length { found: tokens.len(), limit });
        }
        let vocab_size = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(OracleError::Token { token: *token, vocab_size });
        }
        Ok(match &mut self.model {
            OracleModel::Library(model) => model.logits(tokens)?,
            OracleModel::Plain(model) => model.logits(tokens)?,
        })
    }
}
