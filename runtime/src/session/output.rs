//! What a model says after a token.

use super::SessionError;

/// What a model says after a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A logit for every token of the vocabulary.
    Logits(Vec<f32>),
    /// The best next token and its logit.
    Best {
        /// The token.
        token: u32,
        /// Its logit.
        logit: f32,
    },
    /// The last hidden state, of a model without a head.
    HiddenState(Vec<f32>),
}

/// Which [`Output`] a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// [`Output::Logits`].
    Logits,
    /// [`Output::Best`].
    Best,
    /// [`Output::HiddenState`].
    HiddenState,
}

impl Output {
    /// The most likely token, the first of equals; `None` of a model without a head.
    pub fn best(&self) -> Option<u32> {
        match self {
            Self::Logits(logits) => Some(argmax(logits)),
            Self::Best { token, .. } => Some(*token),
            Self::HiddenState(_) => None,
        }
    }

    /// The logits.
    ///
    /// # Errors
    /// The model gives something else.
    pub fn into_logits(self) -> Result<Vec<f32>, SessionError> {
        match self {
            Self::Logits(logits) => Ok(logits),
            Self::Best { .. } => Err(SessionError::ArgmaxOnly),
            Self::HiddenState(_) => Err(SessionError::NoHead),
        }
    }
}

/// The index of the largest value; the first of equals.
pub(crate) fn argmax(values: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in (0..).zip(values) {
        if *value > best.1 {
            best = (index, *value);
        }
    }
    best.0
}
