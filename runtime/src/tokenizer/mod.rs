//! Text to tokens and back, as `tokenizer.json` says.

mod config;
mod detokenizer;

use std::path::Path;
use std::str::FromStr as _;

use tokenizers::{Model as _, Tokenizer};

use crate::companion::{self, CompanionError};

pub use config::TokenizerConfig;
pub use detokenizer::Detokenizer;

/// Name of the tokenizer within a directory.
pub const TOKENIZER_JSON: &str = "tokenizer.json";

/// Largest tokenizer that is read, in bytes; real ones stay under 40 MB.
const MAX_TOKENIZER_BYTES: u64 = 512 << 20;

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
}

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file of it cannot be used.
    #[error(transparent)]
    Companion(#[from] CompanionError),
    /// There is no tokenizer.
    #[error("{} has no `{TOKENIZER_JSON}`", directory.display())]
    Missing {
        /// Where it should be.
        directory: std::path::PathBuf,
    },
    /// The tokenizer is malformed.
    #[error("`{TOKENIZER_JSON}` is malformed")]
    Malformed {
        /// Where.
        #[source]
        source: tokenizers::Error,
    },
    /// The text cannot be made tokens.
    #[error("the tokenizer cannot encode the text")]
    Encode {
        /// Why.
        #[source]
        source: tokenizers::Error,
    },
    /// The tokens cannot be made text.
    #[error("the tokenizer cannot decode the tokens")]
    Decode {
        /// Why.
        #[source]
        source: tokenizers::Error,
    },
}

/// Whether the tokenizer adds what a text starts and ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// As the tokenizer says, such as a token for the start of the text.
    Add,
    /// The text has them already.
    Present,
}

impl TextTokenizer {
    /// Reads the tokenizer of a directory.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub fn open(directory: &Path) -> Result<Self, TokenizerError> {
        let text = companion::read(directory, TOKENIZER_JSON, MAX_TOKENIZER_BYTES)?;
        Self::from_json(&text.ok_or_else(|| TokenizerError::Missing { directory: directory.to_owned() })?)
    }

    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        let malformed = |source| TokenizerError::Malformed { source };
        let mut tokenizer = Tokenizer::from_str(text).map_err(malformed)?;
        // Settings of the training that would cut or fill up a prompt.
        tokenizer.with_truncation(None).map_err(malformed)?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer })
    }

    /// The tokens of a text. Special tokens that the text spells out are recognized.
    ///
    /// # Errors
    /// The text has something that the tokenizer has no token for.
    pub fn encode(&self, text: &str, special_tokens: SpecialTokens) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.tokenizer.encode_fast(text, special_tokens == SpecialTokens::Add);
        Ok(encoding.map_err(|source| TokenizerError::Encode { source })?.get_ids().to_vec())
    }

    /// The text of tokens, without special ones. Bytes that are no character become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer cannot decode.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        self.tokenizer.decode(tokens, true).map_err(|source| TokenizerError::Decode { source })
    }

    /// The token that is spelled like this.
    pub fn token(&self, spelling: &str) -> Option<u32> {
        self.tokenizer.token_to_id(spelling)
    }

    /// The number behind that of the last token of its model. Tokens that were added to the model are not counted.
    pub fn vocabulary_end(&self) -> usize {
        let count = self.tokenizer.get_vocab_size(false);
        let model = self.tokenizer.get_model();
        // Spellings that have every number below their count have no others. Only where there are holes, all of them are copied.
        let is_whole = u32::try_from(count).is_ok_and(|count| (0..count).all(|id| model.id_to_token(id).is_some()));
        if is_whole {
            return count;
        }
        let last = self.tokenizer.get_vocab(false).into_values().max();
        last.map_or(0, |last| usize::try_from(last).map_or(usize::MAX, |last| last.saturating_add(1)))
    }

    /// Whether a spelling is that of a token without text.
    pub fn is_special(&self, spelling: &str) -> bool {
        self.tokenizer.get_added_vocabulary().is_special_token(spelling)
    }
}
