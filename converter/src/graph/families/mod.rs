//! Graph families: which programs compute a model, and through which inputs and outputs.
//!
//! A family makes pieces, each the program of one file. It follows a contract and knows no file name: what files are called
//! is the layout's. Each family is a folder with one line in [`FAMILIES`].

mod conformity;
pub(crate) mod coreml_llm_cli;
pub(crate) mod host_cache;
pub(crate) mod monolithic;
mod piece;
pub(crate) mod prefill;
pub(crate) mod stateful;

use std::ops::Range;

use anec_mil::Function;
use anec_schemas::contract::{Contract, Instance, Role};

use super::{GraphError, ModelSettings};
use crate::model::decoder_plan::DecoderPlan;
use crate::weights::weight_file::WeightFile;

pub(crate) use piece::Piece;

/// All families.
pub(crate) static FAMILIES: &[&dyn Family] = &[
    &stateful::Stateful,
    &monolithic::Monolithic,
    &host_cache::HostCache,
    &coreml_llm_cli::CoremlLlmCli,
    &coreml_llm_cli::sequoia::Sequoia,
    &prefill::Prefill,
];
        (1..).zip(layers).map(move |(number, layers)| Self { role, number, count, layers: layers.clone() })
    }

    /// Whether it holds decoder layers.
    pub fn has_layers(&self) -> bool {
        !self.layers.is_empty()
    }
}

/// What the calls of a piece read of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The rows of the tokens, which is next to nothing.
    Rows,
    /// All of them, for a call of the prompt and for every token.
    Always,
    /// All of them, for every token that is decoded.
    Decoding,
}

/// What to do where the weights of a piece are over the limit of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oversize {
    /// Refuse, with this advice.
    Refuse(&'static str),
    /// Warn, with this advice.
    Warn(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_labels_roles_of_its_contract_and_every_layer_once() {
        for family in FAMILIES {
            let labels = family.labels(&[0..2, 2..5]);
            let mut next = 0;
            for label in &labels {
                assert!(family.contract().file(label.role).is_ok(), "{}: {}", family.name(), label.role);
                if label.has_layers() {
                    assert_eq!(label.layers.start, next, "{}", family.name());
                    next = label.layers.end;
                }
            }
            assert_eq!(next, 5, "{}", family.name());
        }
    }
}
