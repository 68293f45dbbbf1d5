//! Text from tokens that come one at a time.
//!
//! What a token says depends on its neighbors: a character may need several tokens, and some tokenizers write a space before
//! a word unless the word comes first. So a few tokens before the new ones are decoded with them each time, and their text is
//! left out.

use super::{TextTokenizer, TokenizerError};

/// Stands where bytes are not, or not yet, a character.
const REPLACEMENT: char = '\u{fffd}';

/// Bytes of the longest characters of UTF-8, each of which may be a token.
const MAX_CHARACTER_BYTES: usize = 4;

/// Tokens that may wait for a character to become whole; more are no character.
const MAX_WAITING: usize = 2 * MAX_CHARACTER_BYTES;

/// Tokens of the prompt that are decoded with what follows it.
const MAX_CONTEXT: usize = 8;

/// Turns tokens into text as they come.
#[derive(Clone, Debug)]
pub struct Detokenizer<'tokenizer> {
    tokenizer: &'tokenizer TextTokenizer,
    /// Tokens whose text has been given and that new ones are decoded with, then tokens that wait.
    window: Vec<u32>,
    /// How many of the window have been given.
    given: usize,
}

impl<'tokenizer> Detokenizer<'tokenizer> {
    /// A detokenizer of what follows `context`. Without context, the text is that of the tokens alone.
    pub fn new(tokenizer: &'tokenizer TextTokenizer, context: &[u32]) -> Self {
        let last = |count: usize| context.get(context.len().saturating_sub(count)..).unwrap_or_default();
        // A context that begins within a character would spoil what follows it.
        let is_whole = |tokens: &&[u32]| tokenizer.decode(tokens).is_ok_and(|text| !text.starts_with(REPLACEMENT));
        let counts = MAX_CONTEXT..MAX_CONTEXT + MAX_CHARACTER_BYTES;
        let window = counts.map(last).find(is_whole).unwrap_or_else(|| last(MAX_CONTEXT)).to_vec();
        Self { tokenizer, given: window.len(), window }
    }

    /// The text that is certain now that `token` has come; empty while a character is not whole.
    ///
    /// # Errors
    /// The tokenizer cannot decode.
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.window.push(token);
        let waiting = self.window.len() - self.given;
        let text = self.new_text()?;
        if (text.is_empty() || text.ends_with(REPLACEMENT)) && waiting < MAX_WAITING {
            return Ok(String::new());
        }
        if text.is_empty() {
            // Tokens without text, such as special ones, are no context.
            self.window.truncate(self.given);
            return Ok(text);
        }
        // The tokens that were new are the context of the next ones.
        self.window.drain(..self.given);
        self.given = self.window.len();
        Ok(text)
    }

    /// What is left when no more tokens come.
    ///
    /// # Errors
    /// The tokenizer cannot decode.
    pub fn finish(&mut self) -> Result<String, TokenizerError> {
        let text = self.new_text()?;
        self.given = self.window.len();
        Ok(text)
    }

    /// The text of the tokens that wait.
    fn new_text(&self) -> Result<String, TokenizerError> {
        let (given, waiting) = self.window.split_at_checked(self.given).unwrap_or((&[], &self.window));
        let (before, all) = (self.tokenizer.decode(given)?, self.tokenizer.decode(&self.window)?);
        match all.strip_prefix(&before) {
            Some(text) => Ok(text.to_owned()),
            // Bytes that are no character can change what stands before them; then the new tokens stand alone.
            None => self.tokenizer.decode(waiting),
        }
    }
}
