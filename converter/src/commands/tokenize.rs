//! `anec tokenize`.

use std::path::{Path, PathBuf};

use anec_runtime::tokenizer::{SpecialTokens, TOKENIZER_JSON, TextTokenizer, TokenizerError};
use clap::Args;
use fs_err as fs;

use crate::console::{Console, Failure};
use crate::error::Hint;

/// Arguments of `anec tokenize`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  anec tokenize book.txt --tokenizer ./SmolLM2-135M -o book.bin")]
pub struct Arguments {
    /// Text in UTF-8.
    text: PathBuf,

    /// Directory with tokenizer.json, such as a checkpoint, or that file.
    #[arg(long, value_name = "PATH")]
    tokenizer: PathBuf,

    /// File to write: flat little-endian uint16.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Tokens that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// A file.
    #[error("Cannot read or write")]
    Io(#[from] std::io::Error),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A token of more than 16 bits.
    #[error("Cannot write token {token}: it has more than 16 bits")]
    Wide {
        /// The token.
        token: u32,
    },
}

impl Hint for TokenizeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Wide { .. } => Some("take a tokenizer of at most 65536 tokens".to_owned()),
            Self::Io(_) | Self::Tokenizer(_) => None,
        }
    }
}

/// Tokenizes a text.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let tokens = tokens(arguments)?;
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    fs::write(&arguments.output, bytes).map_err(TokenizeError::from)?;
    console.status(&format!("Wrote {} tokens to `{}`", tokens.len(), arguments.output.display()));
    Ok(())
}

fn tokens(arguments: &Arguments) -> Result<Vec<u16>, TokenizeError> {
    let text = fs::read_to_string(&arguments.text)?;
    let tokenizer = open(&arguments.tokenizer)?;
    let tokens = tokenizer.encode(&text, SpecialTokens::Add)?;
    tokens.into_iter().map(|token| u16::try_from(token).map_err(|_| TokenizeError::Wide { token })).collect()
}

/// Files of a tokenizer that `anec run` reads.
const FILES: [&str; 4] = [TOKENIZER_JSON, "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// The tokenizer of a directory, or of a tokenizer.json.
pub(super) fn open(path: &Path) -> Result<TextTokenizer, TokenizeError> {
    if path.is_dir() {
        return Ok(TextTokenizer::open(path)?);
    }
    Ok(TextTokenizer::from_json(&fs::read_to_string(path)?)?)
}

/// Copies the files of a tokenizer into a directory.
pub(super) fn copy(path: &Path, directory: &Path) -> Result<(), TokenizeError> {
    if !path.is_dir() {
        fs::copy(path, directory.join(TOKENIZER_JSON))?;
        return Ok(());
    }
    for name in FILES.into_iter().filter(|name| path.join(name).is_file()) {
        fs::copy(path.join(name), directory.join(name))?;
    }
    Ok(())
}
