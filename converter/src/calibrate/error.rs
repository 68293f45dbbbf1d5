//! What goes wrong in calibration.

use std::path::PathBuf;

use anec_quantize::compensate::CompensateError;

use crate::error::Hint;
use crate::source::checkpoint::CheckpointError;

/// A calibration that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An activation is infinite or not a number.
    #[error("Cannot calibrate layer {layer}: the input `{what}` of token {token} of window {window} is not finite")]
    NotFinite {
        /// The layer.
        layer: usize,
        /// Which of its inputs.
        what: &'static str,
        /// The window of calibration tokens.
        window: usize,
        /// The token within the window.
        token: usize,
    },
    /// The inputs of a layer cannot be used.
    #[error("Cannot calibrate layer {layer}: inputs `{what}`")]
    Gram {
        /// The layer.
        layer: usize,
        /// Which of its inputs.
        what: &'static str,
        /// Why.
        #[source]
        source: CompensateError,
    },
    /// A weight cannot be quantized.
    #[error("Cannot calibrate `{tensor}`")]
    Weight {
        /// The tensor.
        tensor: String,
        /// Why.
        #[source]
        source: CompensateError,
    },
    /// A token that the vocabulary does not have.
    #[error("Cannot calibrate with token {token}, expected less than {vocab_size}, the size of the vocabulary")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// A file of calibration text cannot be read.
    #[error("Cannot read calibration text")]
    File(#[source] std::io::Error),
    /// A file of calibration text is too large.
    #[error("Cannot calibrate with {}: it has {bytes} bytes, expected at most {most}", path.display())]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        most: u64,
    },
    /// A line of a chat file is no chat.
    #[error("Cannot calibrate with {}, line {line}: {problem}", path.display())]
    Chat {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why not.
        problem: String,
    },
    /// The checkpoint has no chat template.
    #[error("Cannot calibrate with chats: the checkpoint has no chat template")]
    NoTemplate,
    /// The chat template fails.
    #[error("Cannot calibrate with chats")]
    Template(#[from] anec_runtime::chat::ChatError),
    /// The tokenizer cannot be used.
    #[error("Cannot make calibration tokens")]
    Tokenizer(#[from] anec_runtime::tokenizer::TokenizerError),
    /// Too few tokens.
    #[error("Cannot calibrate with {found} tokens, expected at least {least}")]
    TooShort {
        /// Tokens given.
        found: usize,
        /// Tokens needed.
        least: usize,
    },
    /// Most of a text is unknown to the vocabulary.
    #[error("Cannot calibrate: {percent:.0} % of the tokens stand for what the vocabulary does not have")]
    Unknown {
        /// Share of the tokens for unknown words, in percent.
        percent: f64,
    },
    /// The checkpoint cannot answer prompts.
    #[error("Cannot let the checkpoint answer prompts: token {position}")]
    Generate {
        /// The position in the answers.
        position: usize,
        /// Why.
        #[source]
        source: anec_runtime::sampling::SamplingError,
    },
    /// The work directory cannot be read or written.
    #[error("Cannot keep what was calibrated")]
    Store {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Rows that were not calibrated; a bug.
    #[error("rows {start} to {end} of `{tensor}` were not calibrated")]
    NotStored {
        /// The tensor.
        tensor: String,
        /// The first row.
        start: u64,
        /// The row after the last.
        end: u64,
    },
    /// Layers that are not of the usual kind.
    #[error("Cannot calibrate a model of type `{model_type}`: its layers are not known to calibration")]
    Unsupported {
        /// `model_type` of config.json.
        model_type: String,
    },
    /// The user or the system asked to stop.
    #[error("Interrupted")]
    Interrupted,
}

impl CalibrateError {
    /// Whether another attempt may end otherwise, so that what is finished is worth keeping.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Store { .. })
    }
}

impl Hint for CalibrateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::NotFinite { .. } => {
                Some("the checkpoint overflows on this text; check its weights, or use `--calibration none`".to_owned())
            }
            Self::Gram { .. } | Self::Weight { .. } | Self::Unsupported { .. } => {
                Some("use `--calibration none`".to_owned())
            }
            Self::Chat { .. } => Some(
                "expected a JSON object a line: {\"messages\": [{\"role\": \"user\", \"content\": \"…\"}, …]}"
                    .to_owned(),
            ),
            Self::Generate { .. } | Self::NoTemplate | Self::Template(_) => {
                Some("calibrate with a text: `--calibration FILE.txt`".to_owned())
            }
            Self::Tokenizer(_) => Some(
                "put the model's tokenizer.json into the checkpoint, or use `--calibration none`, which loses several times \
                 more"
                    .to_owned(),
            ),
            Self::Token { .. } => Some(
                "tokenizer and checkpoint are not of the same model; `--calibration none` needs no tokenizer".to_owned(),
            ),
            Self::TooShort { .. } => Some("use a longer text, or `--calibration builtin`".to_owned()),
            Self::Unknown { .. } => Some("use a text in a language of the model, or `--calibration builtin`".to_owned()),
            Self::Store { source } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("make room, then `--resume` goes on after the last finished layer".to_owned())
            }
            Self::File(_) | Self::FileSize { .. } | Self::Store { .. } | Self::NotStored { .. } => None,
            Self::Interrupted => Some("`--resume` goes on".to_owned()),
        }
    }
}
