//! What a model and another, or its checkpoint, answer to a prompt, and how far apart their predictions are on the way.

use anec_schemas::report::Agreement;

use super::VerifyError;
use super::metrics::Comparison;
use super::samples::{continuations, drafted};
use crate::oracle::Oracle;
use crate::session::{Output, Session, SessionError};

/// What a model is held against.
pub enum Other<'a> {
    /// Another model with the same tokens.
    Model(&'a mut dyn Session),
    /// A checkpoint with the same tokens.
    Checkpoint(&'a mut Oracle),
}

/// What became of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct SideBySide {
    /// The answer of the model, each token the most likely one.
    pub model: Vec<u32>,
    /// That of the other.
    pub other: Vec<u32>,
    /// How far the model's predictions are from the other's, along the answer of the other. None where one of them gives no
    /// logits.
    pub agreement: Option<Agreement>,
}

impl SideBySide {
    /// Tokens at the beginning that both answers have.
    pub fn same_tokens(&self) -> usize {
        self.model.iter().zip(&self.other).take_while(|(a, b)| a == b).count()
    }

    /// Whether both answers are the same.
    pub fn is_same(&self) -> bool {
        self.model == self.other
    }
}

/// Lets both answer a prompt with `length` tokens at most, and none of `stop_tokens`, which end an answer.
///
/// # Errors
/// The prompt is empty or longer than a context, or either side fails.
pub fn side_by_side(
    session: &mut dyn Session,
    other: &mut Other<'_>,
    prompt: &[u32],
    stop_tokens: &[u32],
    length: usize,
) -> Result<SideBySide, VerifyError> {
    let room = session.capabilities().context_length.saturating_sub(prompt.len());
    let (model, answer) = match other {
        Other::Checkpoint(oracle) => {
            let said = continuations(session, oracle, &[prompt.to_vec()], stop_tokens, length.min(room))?;
            let said = said.into_iter().next().unwrap_or_default();
            (said.model, said.reference)
        }
        Other::Model(other) => {
            let room = room.min(other.capabilities().context_length.saturating_sub(prompt.len()));
            let length = length.min(room);
            (drafted(session, prompt, stop_tokens, length)?, drafted(*other, prompt, stop_tokens, length)?)
        }
    };
    let sequence = [prompt, &answer].concat();
    let reference = match other {
        Other::Model(other) => logits(*other, &sequence, prompt.len())?,
        Other::Checkpoint(oracle) => Some(oracle.logits(&sequence)?.split_off(prompt.len().saturating_sub(1))),
    };
    let agreement = match (reference, logits(session, &sequence, prompt.len())?) {
        (Some(reference), Some(found)) => {
            let mut comparison = Comparison::default();
            comparison.begin_window();
            for (index, (reference, found)) in reference.iter().zip(&found).enumerate() {
                comparison.add(reference, found, answer.get(index).copied());
            }
            Some(comparison.finish())
        }
        _ => None,
    };
    Ok(SideBySide { model, other: answer, agreement })
}

/// The logits after the last token of a prompt and after every token that follows; none of a model that gives none.
fn logits(session: &mut dyn Session, sequence: &[u32], prompt: usize) -> Result<Option<Vec<Vec<f32>>>, SessionError> {
    session.reset()?;
    let (prompt, rest) = sequence.split_at_checked(prompt).unwrap_or((sequence, &[]));
    let mut outputs = vec![session.feed(prompt, 0)?];
    for (position, token) in (prompt.len()..).zip(rest) {
        outputs.push(Some(session.infer(*token, position)?));
    }
    let logits = outputs.into_iter().map(|output| match output {
        Some(Output::Logits(logits)) => Some(logits),
        _ => None,
    });
    Ok(logits.collect())
}
