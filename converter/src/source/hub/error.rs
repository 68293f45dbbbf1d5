//! What can go wrong between the hub and the cache.

use std::io;
use std::path::PathBuf;

use crate::error::Hint;

/// A model that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No name of a model.
    #[error("Cannot read `{found}`: expected hf://OWNER/MODEL, with @REVISION or /FILE.gguf behind it where wanted")]
    Name {
        /// What was given.
        found: String,
    },
    /// No home directory.
    #[error("Cannot find the cache of Hugging Face: there is no home directory, and HF_HOME is not set")]
    NoHome,
    /// There is no such model, or none that everybody may see.
    #[error("Cannot find the model `{name}` on {endpoint}, or it is private")]
    NotFound {
        /// The model.
        name: String,
        /// The hub.
        endpoint: String,
    },
    /// There is no such revision.
    #[error("The model `{name}` has no revision `{revision}`")]
    Revision {
        /// The model.
        name: String,
        /// The revision.
        revision: String,
    },
    /// Its owner asks for an agreement.
    #[error("The model `{name}` is gated: its owner asks you to agree to something before you download it")]
    Gated {
        /// The model.
        name: String,
        /// Its page.
        link: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The token is not accepted.
    #[error("{endpoint} does not accept the token")]
    Token {
        /// The hub.
        endpoint: String,
    },
    /// The model is not in the cache, and nothing may be downloaded.
    #[error("The model `{name}` is not in the cache, and HF_HUB_OFFLINE is set")]
    Offline {
        /// The model.
        name: String,
    },
    /// It has nothing to convert.
    #[error("The model `{name}` has no weights that can be converted{found}")]
    NoWeights {
        /// The model.
        name: String,
        /// What it has instead.
        found: String,
    },
    /// Several files could be meant.
    #[error("The model `{name}` has {} GGUF files: {}", .found.len(), .found.join(", "))]
    Several {
        /// The model.
        name: String,
        /// The files.
        found: Vec<String>,
    },
    /// There is no token to write with.
    #[error("Cannot publish `{name}`: there is no token")]
    NoToken {
        /// The model.
        name: String,
    },
    /// The token may not write there.
    #[error("Cannot write to `{name}`: the hub does not allow it")]
    NotAllowed {
        /// The model.
        name: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// Somebody else made a commit in between.
    #[error("Cannot publish `{name}`: the repository was changed while the files were sent")]
    Moved {
        /// The model.
        name: String,
    },
    /// The hub says why not.
    #[error("The hub refused `{url}` ({status}): {message}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The number of the answer.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The hub refuses a file.
    #[error("The hub does not take `{file}`: {message}")]
    File {
        /// The file.
        file: String,
        /// What it says.
        message: String,
    },
    /// A file that cannot be read.
    #[error("Cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The hub answers with something else.
    #[error("Cannot use `{url}`: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The number of the answer.
        status: u16,
    },
    /// The answer makes no sense.
    #[error("Cannot use `{url}`: expected {expected}, found {found}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What should come.
        expected: String,
        /// What came.
        found: String,
    },
    /// The network.
    #[error("Cannot reach `{url}`")]
    Network {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A download that stopped.
    #[error("The download of `{url}` stopped after {have} of {size} bytes")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes that are there.
        have: u64,
        /// Bytes of the file.
        size: u64,
        /// Why, where something is known.
        #[source]
        source: Option<io::Error>,
    },
    /// The disk.
    #[error("Cannot write `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HubError {
    /// Whether the hub did not answer, so that the cache is as good as it gets.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Status { status: 500.., .. })
    }
}

impl Hint for HubError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Gated { link, has_token: false, .. } => {
                return Some(format!(
                    "agree at {link}, then put a token of https://huggingface.co/settings/tokens into HF_TOKEN"
                ));
            }
            Self::Gated { link, .. } => {
                return Some(format!("agree at {link} with the account that the token in use belongs to"));
            }
            Self::NotFound { .. } => {
                "check the name; a private model needs a token in HF_TOKEN, and a local directory must exist"
            }
            Self::Token { .. } => "make a new one at https://huggingface.co/settings/tokens, and put it into HF_TOKEN",
            Self::Offline { .. } => "unset HF_HUB_OFFLINE, or download the model first",
            Self::Several { name, found } => {
                let file = found.first().map_or("FILE.gguf", String::as_str);
                return Some(format!("name the file, such as {name}/{file}"));
            }
            Self::NoWeights { .. } => {
                "anec reads *.safetensors and *.gguf; look for a conversion of this model to one of them"
            }
            Self::Network { .. } => {
                "check the connection, HTTPS_PROXY and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses the cache alone"
            }
            Self::Interrupted { .. } => "run the same command again: it goes on where it stopped",
            Self::NoToken { .. } | Self::NotAllowed { has_token: false, .. } => {
                "put a token with write access of https://huggingface.co/settings/tokens into HF_TOKEN"
            }
            Self::NotAllowed { .. } => {
                "check the name, and that the token in HF_TOKEN may write to repositories of its owner"
            }
            Self::Moved { .. } => "run the same command again: files that were sent are not sent again",
            Self::NoHome => "set HF_HOME to the directory for downloads",
            Self::Status { status: 429, .. } => "wait a little; a token in HF_TOKEN allows more requests",
            Self::Name { .. }
            | Self::Revision { .. }
            | Self::Refused { .. }
            | Self::File { .. }
            | Self::Read { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Io { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
