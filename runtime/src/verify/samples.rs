//! What a model and its checkpoint go on with after the same prompt, each taking its most likely token.

use super::VerifyError;
use crate::oracle::Oracle;
use crate::session::{Session, SessionError, argmax};

/// What both go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Continuation {
    /// Tokens of the model.
    pub model: Vec<u32>,
    /// Tokens of the checkpoint.
    pub reference: Vec<u32>,
}

/// What both go on with after every prompt, `length` tokens at most, and none of `stop_tokens`, which end it.
///
/// The forward pass of the checkpoint keeps no cache, so the model drafts what the checkpoint checks: as long as both agree,
/// one pass tells all tokens.
///
/// # Errors
/// A prompt is empty, or either side fails.
pub fn continuations(
    session: &mut dyn Session,
    oracle: &mut Oracle,
    prompts: &[Vec<u32>],
    stop_tokens: &[u32],
    length: usize,
) -> Result<Vec<Continuation>, VerifyError> {
    prompts.iter().map(|prompt| continuation(session, oracle, prompt, stop_tokens, length)).collect()
}

fn continuation(
    session: &mut dyn Session,
    oracle: &mut Oracle,
    prompt: &[u32],
    stop_tokens: &[u32],
    length: usize,
) -> Result<Continuation, VerifyError> {
    let limit = session.capabilities().context_length.min(oracle.config().max_position_embeddings);
    let length = length.min(limit.saturating_sub(prompt.len()));
    let model = drafted(session, prompt, stop_tokens, length)?;
    let (mut sequence, mut draft) = (prompt.to_vec(), model.clone());
    loop {
        let known = sequence.len();
        sequence.extend(&draft);
        let logits = oracle.logits(&sequence)?;
        // After every token from the last known one on, what the checkpoint takes next.
        let chosen: Vec<u32> = logits[known - 1..].iter().map(|logits| argmax(logits)).collect();
        let agreed = chosen.iter().zip(&draft).take_while(|(chosen, drafted)| chosen == drafted).count();
        sequence.truncate(known + agreed);
        let next = chosen[agreed];
        if sequence.len() - prompt.len() >= length || stop_tokens.contains(&next) {
            break;
        }
        sequence.push(next);
        let left = length - (sequence.len() - prompt.len());
        if left == 0 {
            break;
        }
        draft = drafted(session, &sequence, stop_tokens, left)?;
    }
    let reference = sequence.split_off(prompt.len());
    Ok(Continuation { model, reference })
}

/// What the model goes on with.
pub(super) fn drafted(
    session: &mut dyn Session,
    prompt: &[u32],
    stop_tokens: &[u32],
    length: usize,
) -> Result<Vec<u32>, SessionError> {
    session.reset()?;
    let mut tokens = Vec::with_capacity(length);
    let mut best = session.feed(prompt, 0)?.and_then(|output| output.best());
    while tokens.len() < length
        && let Some(token) = best.filter(|token| !stop_tokens.contains(token))
    {
        tokens.push(token);
        if tokens.len() == length {
            break;
        }
        best = session.infer(token, prompt.len() + tokens.len() - 1)?.best();
    }
    Ok(tokens)
}
