//! The options of commands that run a model over tokens.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer};
use anec_runtime::verify::TokenWindows;
use clap::Args;
use fs_err as fs;
use serde_json::Value;

use crate::console::Failure;
use crate::error::render;

/// Largest text that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 28;

/// Tokens at the end of a part of a text that may be others in the whole.
const MARGIN_TOKENS: usize = 64;

/// Which tokens.
#[derive(Debug, Args)]
pub struct TokenArguments {
    /// Text file to run over; cut into windows of --window tokens.
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    pub text: Option<PathBuf>,

    /// JSON file of token ids: one list, a list of lists, or an object with such `windows`.
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,

    /// Tokens of a window; the model's context at most, which is the default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub window: Option<u32>,

    /// Stop after this many tokens in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub limit: Option<u32>,
}

impl TokenArguments {
    /// The tokens: of the files given, else of the text that ships, by the tokenizer in `directory`.
    pub fn windows(&self, directory: &Path, context_length: u64) -> Result<TokenWindows, Failure> {
        self.first_windows(directory, context_length, None)
    }

    /// As [`windows`](Self::windows), with a limit where none was given.
    pub fn first_windows(
        &self,
        directory: &Path,
        context_length: u64,
        limit: Option<u32>,
    ) -> Result<TokenWindows, Failure> {
        let limit = self.limit.or(limit);
        let mut tokens = match (&self.tokens, &self.text) {
            (Some(path), _) => token_file(path)?,
            (None, Some(path)) => text_file(path, directory, limit)?,
            (None, None) => shipped_text(directory)?,
        };
        let window = self.window.map_or(context_length, u64::from).min(context_length).max(1);
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        // The windows of a token file are taken as they are; a text is one.
        tokens.windows = tokens.windows.iter().flat_map(|tokens| tokens.chunks(window).map(<[u32]>::to_vec)).collect();
        let mut left = limit.map_or(usize::MAX, |limit| limit as usize);
        for window in &mut tokens.windows {
            window.truncate(left);
            left -= window.len();
        }
        tokens.windows.retain(|window| window.len() > 1);
        if tokens.windows.is_empty() {
            return Err(Failure { message: format!("{}: fewer than two tokens", tokens.source), hint: None });
        }
        Ok(tokens)
    }
}

fn token_file(path: &Path) -> Result<TokenWindows, Failure> {
    let expected = "expected a list of token ids, a list of such lists, or an object with such `windows`";
    let failed = |message: String| Failure { message, hint: Some(expected.to_owned()) };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let json: Value =
        serde_json::from_str(&text).map_err(|error| failed(format!("{} is malformed: {error}", path.display())))?;
    let list = json.get("windows").unwrap_or(&json);
    let window = |value: &Value| -> Option<Vec<u32>> {
        value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
    };
    let windows = window(list).map(|tokens| vec![tokens]);
    let windows = windows.or_else(|| list.as_array()?.iter().map(window).collect());
    let windows = windows.ok_or_else(|| failed(format!("{} does not hold token ids", path.display())))?;
    Ok(TokenWindows { source: file_name(path), windows })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The tokens of a text. Of a long one only so much is read as `limit` tokens need, and some more, so that they are those of
/// the whole text.
fn text_file(path: &Path, directory: &Path, limit: Option<u32>) -> Result<TokenWindows, Failure> {
    let failed = |message: String| Failure { message, hint: None };
    let needed = limit.map_or(usize::MAX, |limit| (limit as usize).saturating_add(MARGIN_TOKENS));
    let mut read = limit.map_or(MAX_TEXT_BYTES, |limit| (u64::from(limit) * 16).clamp(1 << 16, MAX_TEXT_BYTES));
    loop {
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(read + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        let is_whole = bytes.len() as u64 <= read;
        if !is_whole && read >= MAX_TEXT_BYTES {
            return Err(failed(format!("{} has more than {MAX_TEXT_BYTES} bytes", path.display())));
        }
        if !is_whole {
            bytes.truncate(end_of_words(&bytes));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| failed(format!("{} is not UTF-8: {}", path.display(), error.utf8_error())))?;
        let tokens = encode(&text, file_name(path), directory)?;
        if is_whole || tokens.windows.iter().map(Vec::len).sum::<usize>() >= needed {
            return Ok(tokens);
        }
        read = read.saturating_mul(4).min(MAX_TEXT_BYTES);
    }
}

/// Where the last whitespace of a part of a text begins, or else its last character.
fn end_of_words(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(u8::is_ascii_whitespace);
    end.or_else(|| bytes.iter().rposition(|byte| !(0x80..0xc0).contains(byte))).unwrap_or(0)
}

fn shipped_text(directory: &Path) -> Result<TokenWindows, Failure> {
    encode(anec_runtime::verify::TEXT, anec_runtime::verify::TEXT_NAME.to_owned(), directory)
}

fn encode(text: &str, source: String, directory: &Path) -> Result<TokenWindows, Failure> {
    let tokens = TextTokenizer::open(directory)
        .and_then(|tokenizer| tokenizer.encode(text, SpecialTokens::Add))
        .map_err(|error| Failure {
            message: render(&error),
            hint: Some("put the checkpoint's tokenizer.json there, or give token ids with --tokens".to_owned()),
        })?;
    Ok(TokenWindows { source, windows: vec![tokens] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_text_ends_between_words_or_else_between_characters() {
        let kept = |text: &'static [u8]| &text[..end_of_words(text)];
        assert_eq!(kept(b"one two\nthr"), b"one two");
        assert_eq!(kept("日本".as_bytes()), "日".as_bytes());
        assert_eq!(kept(&"日本".as_bytes()[..5]), "日".as_bytes());
        assert_eq!(kept(b""), b"");
    }
}
