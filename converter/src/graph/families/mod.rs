//! Graph families: which programs compute a model, and through which inputs and outputs.
//!
//! A family makes pieces, each the program of one file. It follows a contract and knows no file name: what files are called
//! is the layout's. Each family is a folder with one line in [`FAMILIES`].

mod conformity;
pub(crate) mod coreml_llm_cli;
pub(crate) mod embedding;
pub(crate) mod host_cache;
pub(crate) mod kernels;
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
    &embedding::Embedding,
    &kernels::Kernels,
];

/// Which programs compute a model.
pub(crate) trait Family: Sync {
    /// Its name, one word.
    fn name(&self) -> &'static str;

    /// The contract that its programs follow.
    fn contract(&self) -> &'static Contract;

    /// Positions that its tables have, for a conversion whose longest context is `longest`.
    fn positions(&self, _plan: &DecoderPlan, longest: u32) -> u32 {
        longest
    }

    /// Whether the planner may cut a model between layers. Where not, all layers come as one range.
    fn cuts_layers(&self) -> bool {
        true
    }

    /// The pieces of a model that is cut so, in the order in which a client calls them. Where layers are cut, each range is
    /// that of one piece.
    fn labels(&self, cut: &Cut<'_>) -> Vec<Label>;

    /// The sizes and variants of one piece, by which the contract says what its functions take and give.
    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance;

    /// Builds a function of a piece. The first that the contract names for a piece uses all of its weights; the others use
    /// the same, or fewer.
    ///
    /// # Errors
    /// An encoding that does not fit a weight, or a bug in the graph code.
    fn function(
        &self,
        settings: &ModelSettings<'_>,
        label: &Label,
        name: &'static str,
        weights: &mut WeightFile,
    ) -> Result<Function, GraphError>;

    /// What a call of a piece reads of its weights.
    fn reads(&self, label: &Label) -> Reads;

    /// What to do where the weights of a piece are over the limit of a file.
    fn oversize(&self, label: &Label) -> Oversize;
}

/// How a model is cut into pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'a> {
    /// Ranges of its decoder layers, one behind the other.
    pub(crate) layers: &'a [Range<usize>],
    /// Parts of its LM head.
    pub(crate) head_parts: usize,
    /// Whether projections that share an input are one piece, where they have pieces of their own.
    pub(crate) fused: bool,
}

/// Which piece of a model it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What it does, as the contract says.
    pub role: Role,
    /// Its number among those of its role, from 1.
    pub number: usize,
    /// How many have its role.
    pub count: usize,
    /// Its decoder layers; empty where it has none.
    pub layers: Range<usize>,
}

impl Label {
    /// The only piece of a role, without decoder layers.
    pub(crate) fn only(role: Role) -> Self {
        Self { role, number: 1, count: 1, layers: 0..0 }
    }

    /// One piece of a role for each range of layers.
    pub(crate) fn of_layers(role: Role, layers: &[Range<usize>]) -> impl Iterator<Item = Self> {
        let count = layers.len();
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
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_family_labels_roles_of_its_contract_and_every_layer_once() {
        for family in FAMILIES {
            let labels = family.labels(&Cut { layers: &[0..2, 2..5], head_parts: 3, fused: false });
            let mut next = BTreeMap::new();
            for label in &labels {
                assert!(family.contract().file(label.role).is_ok(), "{}: {}", family.name(), label.role);
                if label.has_layers() {
                    let next = next.entry(label.role).or_insert(0);
                    assert_eq!(label.layers.start, *next, "{}", family.name());
                    *next = label.layers.end;
                }
            }
            assert!(!next.is_empty() && next.values().all(|next| *next == 5), "{}", family.name());
        }
    }
}
