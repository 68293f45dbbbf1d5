//! Joins what the parts of an LM head give, whichever model has it.

use anec_schemas::contract::stateful::names;
use anec_schemas::meta::Parameters;

use super::{Gives, Output, SessionError, argmax, lacks};
use crate::backend::{Signature, Tensors};
use crate::part::PartLabel;

/// How the outputs of a head make one.
#[derive(Debug)]
pub(super) enum Head {
    /// Names of the outputs that hold logits, in the order of the vocabulary.
    Logits(Vec<String>),
    /// First token of each part.
    Argmax(Vec<u32>),
}

impl Head {
    /// How to join the outputs of a function of this signature.
    pub(super) fn of(parameters: &Parameters, signature: &Signature) -> Result<Self, SessionError> {
        if parameters.argmax_in_model {
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
        Ok(Self::Logits((1..=outputs).map(|number| format!("{}{number}", names::LOGITS)).collect()))
    }

    /// How many parts there are.
    pub(super) fn parts(&self) -> u64 {
        match self {
            Self::Logits(names) => names.len() as u64,
            Self::Argmax(starts) => starts.len() as u64,
        }
    }

    /// What comes out.
    pub(super) fn gives(&self) -> Gives {
        match self {
            Self::Logits(_) => Gives::Logits,
            Self::Argmax(_) => Gives::Best,
        }
    }

    /// What a head of `rows` rows says after the one of index `row`. `at` is the model and the function that has it.
    pub(super) fn join(
        &self,
        (label, function): (PartLabel, &str),
        outputs: &Tensors,
        row: usize,
        rows: usize,
    ) -> Result<Output, SessionError> {
        let output = |name: &str| outputs.get(name).ok_or_else(|| lacks(label, function, "output", name));
        match self {
            Self::Logits(names) => {
                let mut logits = Vec::new();
                for name in names {
                    logits.extend_from_slice(row_of(&output(name)?.as_floats()?, row, rows));
                }
                Ok(Output::Logits(logits))
            }
            Self::Argmax(starts) => {
                let values = output(names::ARGMAX_VALUE)?.as_floats()?;
                let indices = output(names::ARGMAX_INDEX)?.as_integers()?;
                let (values, indices) = (row_of(&values, row, rows), row_of(&indices, row, rows));
                let part = argmax(values) as usize;
                let found = starts.get(part).zip(indices.get(part)).zip(values.get(part));
                let ((start, index), logit) = found.ok_or_else(|| SessionError::Meta {
                    key: "lm_head_chunk_sizes",
                    expected: format!("{} sizes", values.len()),
                    found: format!("{} sizes", starts.len()),
                })?;
                let token = start.saturating_add(u32::try_from(*index).unwrap_or(u32::MAX));
                Ok(Output::Best { token, logit: *logit })
            }
        }
    }
}

/// One of `rows` equal rows of a tensor whose last axis they are.
fn row_of<T>(elements: &[T], row: usize, rows: usize) -> &[T] {
    elements.chunks(elements.len().checked_div(rows).unwrap_or(0).max(1)).nth(row).unwrap_or_default()
}
