//! What a meta file says of layers that keep their window only, and what follows for calls.

use anec_schemas::Parameters;

use super::inputs::size;
use super::{Rewinds, SessionError};

/// How the layers with a window keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// They keep the whole context.
    Whole,
    /// In a ring, which every function writes wherever the position is.
    Ring {
        /// Positions that the ring holds.
        length: usize,
        /// Positions beyond the window.
        spare: usize,
    },
    /// In order: from position `length` on, functions of their own shift it.
    Rotate {
        /// Positions that the state holds.
        length: usize,
    },
}

impl Windows {
    /// What the meta file says. A directory of ANEMLL that has no functions for it names its window all the same, so
    /// `has_rotate` says whether there are such functions.
    pub(super) fn of(parameters: &Parameters, has_rotate: bool) -> Result<Self, SessionError> {
        if let Some(length) = parameters.ring_length {
            let length = size("ring_length", length)?;
            let window = size("ring_window", parameters.ring_window.unwrap_or(0))?;
            let spare = length.checked_sub(window).ok_or_else(|| SessionError::Meta {
                key: "ring_window",
                expected: format!("at most {length}, which is `ring_length`"),
                found: window.to_string(),
            })?;
            return Ok(Self::Ring { length, spare });
        }
        match parameters.sliding_window.filter(|_| has_rotate) {
            Some(length) => Ok(Self::Rotate { length: size("sliding_window", length)? }),
            None => Ok(Self::Whole),
        }
    }

    /// How far a conversation can go back.
    pub(super) fn rewinds(self) -> Rewinds {
        match self {
            Self::Whole => Rewinds::Anywhere,
            Self::Ring { length, spare } => Rewinds::Ring { length, spare },
            Self::Rotate { length } => Rewinds::Ring { length, spare: 0 },
        }
    }

    /// Whether the functions that shift are called for a first token at this position.
    pub(super) fn rotates(self, position: usize) -> bool {
        matches!(self, Self::Rotate { length } if position >= length)
    }

    /// Whether a batch from this position on must be taken token by token: it would run over the edge of a window that
    /// batches of its size divide, whose functions do not expect it.
    pub(super) fn straddles(self, position: usize, tokens: usize) -> bool {
        match self {
            Self::Rotate { length } => {
                position < length && position + tokens > length && length.is_multiple_of(tokens.max(1))
            }
            Self::Whole | Self::Ring { .. } => false,
        }
    }
}
