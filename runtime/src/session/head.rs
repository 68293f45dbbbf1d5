//! Joins what the parts of an LM head give.

use anec_schemas::meta::Parameters;

use super::SessionError;
use crate::backend::{Signature, Tensors};
use crate::directory::PartRole;
use crate::session::names;

/// Prefix of the outputs that hold logits; a number from 1 on follows.
const LOGITS: &str = "logits";
/// Index of the best token of each part, within the part.
const ARGMAX_INDEX: &str = "argmax_idx";
/// Logit of the best token of each part.
const ARGMAX_VALUE: &str = "argmax_val";

/// What a model says about the next token.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadOutput {
    /// A logit for every token of the vocabulary.
    Logits(Vec<f32>),
    /// The best token and its logit.
    Best {
        /// The token.
        token: u32,
        /// Its logit.
        logit: f32,
    },
}

impl HeadOutput {
    /// The most likely token; the first of equals.
    pub fn best(&self) -> u32 {
        match self {
            Self::Logits(logits) => argmax(logits),
            Self::Best { token, .. } => *token,
        }
    }

    /// The logits.
    ///
    /// # Errors
    /// The head gives the best token only.
    pub fn into_logits(self) -> Result<Vec<f32>, SessionError> {
        match self {
            Self::Logits(logits) => Ok(logits),
            Self::Best { .. } => Err(SessionError::ArgmaxOnly),
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

/// How the outputs of a head make one.
#[derive(Debug)]
pub(super) enum Head {
    /// Names of the outputs that hold logits, in the order of the vocabulary.
    Logits(Vec<String>),
    /// First token of each part.
    Argmax(Vec<u32>),
}

impl Head {
    pub(super) fn of(parameters: &Parameters, signature: &Signature) -> Result<Self, SessionError> {
        let has = |name: &str| signature.outputs.iter().any(|output| output.name == name);
        let missing = |name: &str| SessionError::Contract {
            role: PartRole::LmHead,
            function: names::MAIN.to_owned(),
            kind: "output",
            name: name.to_owned(),
        };
        if parameters.argmax_in_model {
            for name in [ARGMAX_INDEX, ARGMAX_VALUE] {
                if !has(name) {
                    return Err(missing(name));
                }
            }
            let mut starts = Vec::new();
            let mut start = 0_u64;
            for size in &parameters.lm_head_chunk_sizes {
                starts.push(u32::try_from(start).map_err(|_| SessionError::Meta {
                    key: "lm_head_chunk_sizes",
                    expected: "a vocabulary of 32-bit tokens".to_owned(),
                    found: start.to_string(),
                })?);
                start = start.saturating_add(*size);
            }
            return Ok(Self::Argmax(starts));
        }
        let outputs = signature.outputs.len();
        let expected = parameters.split_lm_head.unwrap_or(outputs as u64);
        if expected != outputs as u64 {
            return Err(SessionError::Meta {
                key: "split_lm_head",
                expected: outputs.to_string(),
                found: expected.to_string(),
            });
        }
        let names: Vec<String> = (1..=outputs).map(|number| format!("{LOGITS}{number}")).collect();
        match names.iter().find(|name| !has(name)) {
            Some(name) => Err(missing(name)),
            None => Ok(Self::Logits(names)),
        }
    }

    pub(super) fn is_argmax(&self) -> bool {
        matches!(self, Self::Argmax(_))
    }

    /// What a head of `rows` rows says after the one of index `row`.
    pub(super) fn join(&self, outputs: &Tensors, row: usize, rows: usize) -> Result<HeadOutput, SessionError> {
        let output = |name: &str| {
            outputs.get(name).ok_or_else(|| SessionError::Contract {
                role: PartRole::LmHead,
                function: names::MAIN.to_owned(),
                kind: "output",
                name: name.to_owned(),
            })
        };
        match self {
            Self::Logits(names) => {
                let mut logits = Vec::new();
                for name in names {
                    logits.extend_from_slice(row_of(&output(name)?.as_floats()?, row, rows));
                }
                Ok(HeadOutput::Logits(logits))
            }
            Self::Argmax(starts) => {
                let (values, indices) = (output(ARGMAX_VALUE)?.as_floats()?, output(ARGMAX_INDEX)?.as_integers()?);
                let (values, indices) = (row_of(&values, row, rows), row_of(&indices, row, rows));
                let part = argmax(values) as usize;
                let found = starts.get(part).zip(indices.get(part)).zip(values.get(part));
                let ((start, index), logit) = found.ok_or_else(|| SessionError::Meta {
                    key: "lm_head_chunk_sizes",
                    expected: format!("{} sizes", values.len()),
                    found: format!("{} sizes", starts.len()),
                })?;
                let token = start.saturating_add(u32::try_from(*index).unwrap_or(u32::MAX));
                Ok(HeadOutput::Best { token, logit: *logit })
            }
        }
    }
}

/// One of `rows` equal rows of a tensor whose last axis they are.
fn row_of<T>(elements: &[T], row: usize, rows: usize) -> &[T] {
    elements.chunks(elements.len().checked_div(rows).unwrap_or(0).max(1)).nth(row).unwrap_or_default()
}
