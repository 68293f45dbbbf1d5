//! Text after text: prompts go in, tokens come out one at a time, and the KV cache is kept from prompt to prompt.
//!
//! Nothing here measures time or prints; the caller pulls tokens and may stop whenever it likes.

mod config;
mod stop;

use crate::sampling::{Sampler, SamplingError};
use crate::session::{Gives, Output, Session, SessionError};

pub use config::GenerationConfig;
pub use stop::{Passed, StopTexts};

/// Generates with one model and one KV cache.
pub struct Generator {
    session: Box<dyn Session>,
    /// Tokens that the KV cache holds, from position 0 on.
    fed: Vec<u32>,
    /// Whether the state is unknown, because the engine failed.
    broken: bool,
}

/// What ends a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that end it, and are not given.
    pub stop_tokens: Vec<u32>,
    /// Most tokens that are given.
    pub max_tokens: Option<usize>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model chose a stop token.
    StopToken(u32),
    /// There are as many tokens as were asked for.
    MaxTokens,
    /// The KV cache has no room for another token.
    ContextFull,
}

/// A generation that is under way. Dropping it ends it; the next one goes on with the same KV cache.
pub struct Generation<'run> {
    generator: &'run mut Generator,
    sampler: &'run mut Sampler,
    limits: &'run Limits,
    /// The prompt, then the tokens that were given.
    seen: Vec<u32>,
    prompt_tokens: usize,
    reused_tokens: usize,
    /// What the model said after the last token that was fed.
    output: Output,
    finish: Option<Finish>,
}

/// A generation that failed.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The model cannot be driven.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The next token cannot be chosen.
    #[error("Cannot choose the token at position {position}")]
    Sampling {
        /// Where it would stand.
        position: usize,
        /// Why.
        #[source]
        source: SamplingError,
    },
    /// There is nothing to go on from.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The prompt does not fit.
    #[error("the prompt has {tokens} tokens, expected at most {context_length}, the context length of the model")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the KV cache holds.
        context_length: usize,
    },
}

impl Generator {
    /// Generates with this session, which must be new or reset.
    pub fn new(session: Box<dyn Session>) -> Self {
        Self { session, fed: Vec::new(), broken: false }
    }

    /// The session.
    pub fn session(&self) -> &dyn Session {
        &*self.session
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// The engine cannot make a state.
    pub fn reset(&mut self) -> Result<(), SessionError> {
        self.fed.clear();
        self.broken = true;
        self.session.reset()?;
        self.broken = false;
        Ok(())
    }

    /// Feeds a prompt. What the KV cache holds of its start is not fed again.
    ///
    /// # Errors
    /// The prompt is empty or too long, the head cannot do what the sampler needs, or the engine fails.
    pub fn start<'run>(
        &'run mut self,
        prompt: &[u32],
        sampler: &'run mut Sampler,
        limits: &'run Limits,
    ) -> Result<Generation<'run>, GenerateError> {
        let context_length = self.session.capabilities().context_length;
        if prompt.len() > context_length {
            return Err(GenerateError::PromptTooLong { tokens: prompt.len(), context_length });
        }
        let refused = match self.session.capabilities().gives {
            Gives::HiddenState => Some(SamplingError::NoHead),
            Gives::Best if sampler.options().needs_logits() => Some(SamplingError::BestOnly),
            Gives::Best | Gives::Logits => None,
        };
        if let Some(source) = refused {
            return Err(GenerateError::Sampling { position: prompt.len(), source });
        }
        if self.broken {
            self.reset()?;
        }
        // The last token is always fed, because what the model says after it is not kept.
        let last = prompt.len().checked_sub(1).ok_or(GenerateError::EmptyPrompt)?;
        let same = prompt.iter().zip(&self.fed).take_while(|(a, b)| a == b).count();
        let mut reused_tokens = same.min(last);
        if !self.session.capabilities().rewinds.allow(self.fed.len(), reused_tokens) {
            self.reset()?;
            reused_tokens = 0;
        }
        // What the cache holds behind these tokens is masked, and overwritten before it is reached.
        self.fed.truncate(reused_tokens);
        let output = self.feed(prompt.get(reused_tokens..).unwrap_or_default())?;
        Ok(Generation {
            generator: self,
            sampler,
            limits,
            seen: prompt.to_vec(),
            prompt_tokens: prompt.len(),
            reused_tokens,
            output,
            finish: None,
        })
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<Output, GenerateError> {
        self.broken = true;
        let output = self.session.feed(tokens, self.fed.len())?.ok_or(GenerateError::EmptyPrompt)?;
        self.broken = false;
        self.fed.extend_from_slice(tokens);
        Ok(output)
    }
}

impl Generation<'_> {
    /// The next token; `None` at the end, for which [`Self::finish`] has the reason.
    ///
    /// # Errors
    /// The engine fails, or its logits are no numbers.
    pub fn next_token(&mut self) -> Result<Option<u32>, GenerateError> {
        if self.finish.is_some() {
            return Ok(None);
        }
        if self.limits.max_tokens.is_some_and(|most| self.tokens().len() >= most) {
            return Ok(self.end(Finish::MaxTokens));
        }
        // A token is fed when the next one is asked for: the last one never has to be.
        if let Some(token) = self.seen.get(self.generator.fed.len()).copied() {
            if self.generator.fed.len() >= self.generator.session.capabilities().context_length {
                return Ok(self.end(Finish::ContextFull));
            }
            self.output = self.generator.feed(&[token])?;
        }
        let position = self.seen.len();
        let chosen = self.sampler.choose(&self.output, &self.seen).map_err(|source| {
            // Values that are no numbers stay in the cache and spoil what follows.
            self.generator.broken = true;
            GenerateError::Sampling { position, source }
        })?;
        if self.limits.stop_tokens.contains(&chosen) {
            return Ok(self.end(Finish::StopToken(chosen)));
        }
        self.seen.push(chosen);
        Ok(Some(chosen))
    }

    /// The tokens that were given.
    pub fn tokens(&self) -> &[u32] {
        self.seen.get(self.prompt_tokens..).unwrap_or_default()
    }

    /// Why there are no more tokens; `None` while there may be.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Tokens of the prompt that the KV cache held already.
    pub fn reused_tokens(&self) -> usize {
        self.reused_tokens
    }

    fn end(&mut self, finish: Finish) -> Option<u32> {
        self.finish = Some(finish);
        None
    }
}
