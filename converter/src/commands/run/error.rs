//! Why a model cannot be run, and what to do about it.

use std::io;
use std::path::PathBuf;

use anec_runtime::chat::ChatError;
use anec_runtime::generate::GenerateError;
use anec_runtime::sampling::SamplingError;
use anec_runtime::session::SessionError;
use anec_runtime::tokenizer::TokenizerError;
use anec_runtime::{CompanionError, DirectoryError};

use crate::commands::backend_arguments::BackendArgumentsError;
use crate::error::Hint;

/// A model that cannot be run.
#[derive(Debug, thiserror::Error)]
pub(in crate::commands) enum RunError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Backend(#[from] BackendArgumentsError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Companion(#[from] CompanionError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("Cannot sample")]
    Sampling(#[from] SamplingError),
    #[error("`{option}` cannot be used: the LM head gives the best token only (`argmax_in_model`), not the logits")]
    BestOnly { option: &'static str },
    #[error("`{option}` cannot be used: the model has no chat template")]
    NoTemplate { option: &'static str },
    #[error("`--draft` cannot be used: {} has no function that checks several tokens", path.display())]
    NoVerify { path: PathBuf },
    #[error("Cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not hold a JSON list", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the line has more than {} bytes", super::lines::MAX_LINE_BYTES)]
    LongLine,
    #[error("Cannot read the standard input")]
    Input(#[source] io::Error),
    #[error("Cannot write to the standard output")]
    Output(#[source] io::Error),
}

impl Hint for RunError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Directory(error) => return error.hint(),
            Self::Backend(error) => return error.hint(),
            Self::Session(error) | Self::Generate(GenerateError::Session(error)) => return error.hint(),
            Self::Generate(GenerateError::PromptTooLong { .. }) => {
                "shorten the prompt (in a chat, /reset starts over), or convert with a larger --context-length"
            }
            Self::Generate(GenerateError::EmptyPrompt) => "the model needs a first token: give --prompt some text",
            Self::Generate(GenerateError::Sampling { source: SamplingError::NotFinite { .. }, .. }) => {
                "`anec verify` finds where the numbers leave the range of fp16"
            }
            Self::Tokenizer(TokenizerError::Missing { .. }) => {
                "put the checkpoint's tokenizer.json there; `save_pretrained` of transformers' tokenizers writes one"
            }
            Self::Chat(ChatError::Malformed { .. } | ChatError::NoDefault { .. } | ChatError::Failed { .. }) => {
                "--raw continues --prompt without the chat template"
            }
            Self::BestOnly { .. } => "leave the option out, or convert without --argmax",
            Self::NoTemplate { .. } => "put what it says into --prompt",
            Self::List { .. } => {
                "messages look like [{\"role\": \"user\", \"content\": \"Hello\"}]; tools are function schemas"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
