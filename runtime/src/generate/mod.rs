//! Text after text: prompts go in, tokens come out one at a time, and the KV cache is kept from prompt to prompt.
//!
//! Nothing here measures time or prints; the caller pulls tokens and may stop whenever it likes.

mod config;
mod draft;
mod stop;

use std::collections::VecDeque;

use crate::sampling::{Distribution, Sampler, SamplingError};
use crate::session::{Capabilities, Gives, Output, Session, SessionError};

use draft::{Checked, Draft};

pub use config::GenerationConfig;
pub use stop::{Passed, StopTexts};

/// Generates with one model and one KV cache.
pub struct Generator {
    session: Box<dyn Session>,
    /// Tokens that the KV cache holds, from position 0 on.
    fed: Vec<u32>,
    /// Whether the state is unknown, because the engine failed.
    broken: bool,
    /// A model that drafts what this one checks.
    draft: Option<Draft>,
}

/// How often a model was called to decode, and what became of drafts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls after the prompt.
    pub made: usize,
    /// Tokens that were fed in them.
    pub tokens: usize,
    /// Tokens that were drafted.
    pub drafted: usize,
    /// Drafted tokens that were kept.
    pub kept: usize,
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
    /// Tokens that are chosen and were not given yet.
    pending: VecDeque<u32>,
    calls: Calls,
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
    /// The model that drafts has other tokens.
    #[error("the draft has a vocabulary of {found} tokens, expected {expected}, that of the model")]
    DraftVocabulary {
        /// Tokens of the model.
        expected: usize,
        /// Tokens of the draft.
        found: usize,
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
        Self { session, fed: Vec::new(), broken: false, draft: None }
    }

    /// The same with a model that drafts up to `tokens` tokens at a time, which this model checks in one call. Its session must
    /// be new or reset.
    ///
    /// # Errors
    /// The two have vocabularies of different sizes.
    pub fn with_draft(mut self, session: Box<dyn Session>, tokens: usize) -> Result<Self, GenerateError> {
        let [model, draft] = [&self.session, &session].map(|session| session.capabilities());
        if model.vocab_size != draft.vocab_size {
            let [expected, found] = [model, draft].map(|capabilities| capabilities.vocab_size.unwrap_or(0));
            return Err(GenerateError::DraftVocabulary { expected, found });
        }
        self.draft = Some(Draft::new(session, tokens));
        Ok(self)
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
        if let Some(draft) = &mut self.draft {
            draft.reset()?;
        }
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
            pending: VecDeque::new(),
            calls: Calls::default(),
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

/// What a sampler would choose from after `text`.
fn distribution(sampler: &mut Sampler, output: &Output, text: &[u32]) -> Result<Distribution, GenerateError> {
    sampler.distribution(output, text).map_err(|source| GenerateError::Sampling { position: text.len(), source })
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
        if let Some(token) = self.pending.pop_front() {
            return Ok(self.give(token));
        }
        // A token is fed when the next one is asked for: the last one never has to be.
        if let Some(token) = self.seen.get(self.generator.fed.len()).copied() {
            if self.generator.fed.len() >= self.generator.session.capabilities().context_length {
                return Ok(self.end(Finish::ContextFull));
            }
            self.check_draft(token)?;
            if let Some(token) = self.pending.pop_front() {
                return Ok(self.give(token));
            }
        }
        let position = self.seen.len();
        let chosen = self.sampler.choose(&self.output, &self.seen).map_err(|source| {
            // Values that are no numbers stay in the cache and spoil what follows.
            self.generator.broken = true;
            GenerateError::Sampling { position, source }
        })?;
        Ok(self.give(chosen))
    }

    /// Feeds a token that was given, with what is drafted after it: drafted tokens that are kept, and one in place of the first
    /// that is not, are pending then.
    fn check_draft(&mut self, token: u32) -> Result<(), GenerateError> {
        let fed = self.generator.fed.len();
        let Capabilities { context_length, verify_size, .. } = *self.generator.session.capabilities();
        let wanted = self.limits.max_tokens.map_or(usize::MAX, |most| most - self.tokens().len());
        let room = context_length - fed;
        let drafted = match &mut self.generator.draft {
            Some(draft) if verify_size > 1 => {
                let count = draft.most().min(verify_size - 1).min(wanted.saturating_sub(1)).min(room - 1);
                draft.draft(&self.seen, count, self.sampler)?
            }
            _ => Vec::new(),
        };
        self.calls.made += 1;
        self.calls.tokens += 1;
        if drafted.is_empty() {
            self.output = self.generator.feed(&[token])?;
            return Ok(());
        }
        let tokens: Vec<u32> = std::iter::once(token).chain(drafted.iter().map(|drafted| drafted.token)).collect();
        self.generator.broken = true;
        let mut outputs = self.generator.session.verify(&tokens, fed)?;
        let mut text = self.seen.clone();
        let (sampler, mut next) = (&mut *self.sampler, tokens.iter().skip(1));
        let mut expected = Vec::new();
        for output in outputs.iter().take(drafted.len()) {
            expected.push(distribution(sampler, output, &text));
            text.extend(next.next());
        }
        let Checked { kept, instead } = draft::check(&drafted, expected.into_iter(), sampler)?;
        self.generator.broken = false;
        self.generator.fed.extend(tokens.iter().take(kept + 1));
        self.calls.tokens += kept;
        self.calls.drafted += drafted.len();
        self.calls.kept += kept;
        self.pending.extend(drafted.iter().take(kept).map(|drafted| drafted.token));
        self.pending.extend(instead);
        self.output = outputs.swap_remove(kept);
        Ok(())
    }

    /// Gives a token, or ends where it is one that ends.
    fn give(&mut self, token: u32) -> Option<u32> {
        if self.limits.stop_tokens.contains(&token) {
            return self.end(Finish::StopToken(token));
        }
        self.seen.push(token);
        Some(token)
    }

    /// How often the model was called.
    pub fn calls(&self) -> Calls {
        self.calls
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
