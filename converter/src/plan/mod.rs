//! A conversion, decided: the files with their programs, sizes, decisions and costs. What decides is
//! the planner.

pub(crate) mod chunks;
pub(crate) mod decision;
mod error;
pub mod estimate;
mod file;
pub mod head_split;
pub mod inventory;

use std::collections::BTreeMap;

use anec_mil::ValueType;
use anec_schemas::contract::Contract;
use anec_schemas::contract::monolithic::MODEL;
use anec_schemas::contract::stateful::LM_HEAD;

pub use self::decision::{Decision, Topic};
pub use self::error::PlanError;
pub use self::file::FilePlan;
pub use crate::graph::families::Label;

use crate::graph::layers::kv_cache::CacheStates;
use crate::model::decoder_plan::DecoderPlan;
use crate::options::Options;
use crate::plan::head_split::HeadSplit;

/// A conversion, decided: `anec plan` prints it, emission carries it out.
pub struct ConversionPlan {
    /// The model.
    pub decoder: DecoderPlan,
    /// What was asked for.
    pub options: Options,
    /// Files, in the order that a client calls them.
    pub files: Vec<FilePlan>,
    /// How the vocabulary is split.
    pub head: HeadSplit,
    /// What was decided, and why.
    pub decisions: Vec<Decision>,
    /// What the user should know before shipping the result.
    pub warnings: Vec<String>,
    /// Where keys and values are kept.
    pub(crate) caches: CacheStates,
    /// Positions that tables have.
    pub(crate) positions: u64,
    /// What the programs take and give.
    pub(crate) contract: &'static Contract,
}

impl ConversionPlan {
    /// The directory of its files, where other context lengths have theirs beside it.
    pub fn directory_name(&self) -> String {
        format!("context_{}", self.options.context_length)
    }

    /// Whether it ends in an LM head, in a file of its own or not.
    pub fn has_head(&self) -> bool {
        has_head(self.contract)
    }

    /// Positions for which rotations are known, where they are more than the context has.
    pub fn max_positions(&self) -> Option<u64> {
        (self.positions > u64::from(self.options.context_length)).then_some(self.positions)
    }

    /// Bytes of all weight files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.weight_bytes).sum()
    }

    /// Bytes of the states, each of which all files and functions share.
    pub fn state_bytes(&self) -> u64 {
        let functions = self.files.iter().flat_map(|file| file.program.functions.values());
        let states = functions.flat_map(|function| &function.inputs).filter_map(|input| match &input.ty {
            ValueType::State(ty) => {
                let elements =
                    ty.element_count().expect("states have fixed shapes, which the contract was held against");
                Some((input.name.as_str(), (elements * u64::from(ty.dtype.bits())).div_ceil(8)))
            }
            _ => None,
        });
        states.collect::<BTreeMap<_, _>>().into_values().sum()
    }

    /// Bytes of the KV cache, in states or in the client's memory.
    pub fn cache_bytes(&self) -> u64 {
        match self.state_bytes() {
            0 => self.whole_cache_bytes(),
            bytes => bytes,
        }
    }

    /// Bytes of a KV cache that keeps the whole context of every layer.
    pub fn whole_cache_bytes(&self) -> u64 {
        let bytes = estimate::cache_bytes(&self.decoder, u64::from(self.options.context_length));
        bytes / self.decoder.head_dim as u64 * self.caches.head_channels()
    }

    /// Whether the cache is in a state, and not in the client's memory.
    pub fn has_state(&self) -> bool {
        self.state_bytes() > 0
    }

    /// The files that hold decoder layers.
    pub fn chunks(&self) -> impl Iterator<Item = &FilePlan> {
        self.files.iter().filter(|file| file.label.has_layers())
    }

    /// How many files hold decoder layers.
    pub fn chunk_count(&self) -> usize {
        self.chunks().count()
    }
}

/// Whether the models of a contract end in an LM head.
pub(crate) fn has_head(contract: &Contract) -> bool {
    contract.files.iter().any(|file| file.role == LM_HEAD || file.role == MODEL)
}

/// Whether the models of a contract keep keys and values in states.
pub(crate) fn has_state(contract: &Contract) -> bool {
    contract.files.iter().flat_map(|file| file.functions).any(|function| !function.states.is_empty())
}
