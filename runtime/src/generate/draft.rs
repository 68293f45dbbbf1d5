//! Drafts: a small model says what comes next, and the large one checks several of its tokens in one call.
//!
//! # Source
//! Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding", 2023. A drafted token `x` is kept
//! with the probability `min(1, p(x) / q(x))`, where `p` is what the model would choose from and `q` what the draft did; in
//! place of one that is not, a token is drawn from `max(p - q, 0)`. What comes out is distributed as without drafts. Where the
//! best token is taken, it is the same tokens.

use crate::sampling::{Distribution, Sampler};
use crate::session::{Session, SessionError};

use super::GenerateError;

/// A model that drafts.
pub(super) struct Draft {
    session: Box<dyn Session>,
    /// Tokens that it holds.
    fed: Vec<u32>,
    /// Most tokens of one draft.
    most: usize,
    /// Whether its state is unknown, because the engine failed.
    broken: bool,
}

/// A drafted token, and what it was drawn from.
pub(super) struct Drafted {
    pub(super) token: u32,
    pub(super) from: Distribution,
}

impl Draft {
    /// A draft of up to `most` tokens a call.
    pub(super) fn new(session: Box<dyn Session>, most: usize) -> Self {
        Self { session, fed: Vec::new(), most, broken: false }
    }

    /// Most tokens of one draft.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) -> Result<(), SessionError> {
        self.broken = true;
        self.fed.clear();
        self.session.reset()?;
        self.broken = false;
        Ok(())
    }

    /// Drafts up to `count` tokens after `seen`.
    pub(super) fn draft(
        &mut self,
        seen: &[u32],
        count: usize,
        sampler: &mut Sampler,
    ) -> Result<Vec<Drafted>, GenerateError> {
        let room = self.session.capabilities().context_length.saturating_sub(seen.len());
        let mut text = seen.to_vec();
        let mut drafted = Vec::new();
        for _ in 0..count.min(self.most).min(room) {
            let output = self.feed(&text)?;
            let from = sampler
                .distribution(&output, &text)
                .map_err(|source| GenerateError::Sampling { position: text.len(), source })?;
            let token = sampler.draw_from(&from);
            text.push(token);
            drafted.push(Drafted { token, from });
        }
        Ok(drafted)
    }

    /// Makes the session hold exactly `text`, and gives what it says after it.
    fn feed(&mut self, text: &[u32]) -> Result<crate::session::Output, GenerateError> {
        let same = text.iter().zip(&self.fed).take_while(|(a, b)| a == b).count();
        let mut kept = same.min(text.len().saturating_sub(1));
        if self.broken || !self.session.capabilities().rewinds.allow(self.fed.len(), kept) {
            self.reset()?;
            kept = 0;
        }
        self.fed.truncate(kept);
        self.broken = true;
        let rest = text.get(kept..).unwrap_or_default();
        let output = self.session.feed(rest, kept)?.ok_or(GenerateError::EmptyPrompt)?;
        self.broken = false;
        self.fed.extend_from_slice(rest);
        Ok(output)
    }
}

/// What became of a draft.
pub(super) struct Checked {
    /// Drafted tokens that are kept, the first ones.
    pub(super) kept: usize,
    /// The token in place of the first that is not.
    pub(super) instead: Option<u32>,
}

/// Checks drafted tokens against what the model would choose from before each of them.
pub(super) fn check(
    drafted: &[Drafted],
    expected: impl Iterator<Item = Result<Distribution, GenerateError>>,
    sampler: &mut Sampler,
) -> Result<Checked, GenerateError> {
    for (kept, (drafted, expected)) in drafted.iter().zip(expected).enumerate() {
        let expected = expected?;
        let (p, q) = (expected.of(drafted.token), drafted.from.of(drafted.token));
        if p >= q || sampler.uniform() * q < p {
            continue;
        }
        let instead = sampler.draw_from(&expected.beyond(&drafted.from));
        return Ok(Checked { kept, instead: Some(instead) });
    }
    Ok(Checked { kept: drafted.len(), instead: None })
}
