//! Programs for prompts alone: those of the host-cache family for one number of tokens, with caches in rows and without a head.

use anec_mil::Function;
use anec_schemas::contract::prefill::{CHUNK, CONTRACT, EMBEDDINGS};
use anec_schemas::contract::{Contract, Instance};

use super::conformity::Inputs;
use super::host_cache::{HostCache, chunk, embeddings};
use super::stateful::Stateful;
use super::{Cut, Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::graph::layers::kv_cache::CacheOrder;
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct Prefill;

impl Family for Prefill {
    fn name(&self) -> &'static str {
        "prefill"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        let mut labels = vec![Label::only(EMBEDDINGS)];
        labels.extend(Label::of_layers(CHUNK, cut.layers));
        labels
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        HostCache.instance(settings, label)
    }

    fn function(
        &self,
        settings: &ModelSettings<'_>,
        label: &Label,
        name: &'static str,
        weights: &mut WeightFile,
    ) -> Result<Function, GraphError> {
        let instance = self.instance(settings, label);
        let contract = CONTRACT.function(label.role, name, &instance)?;
        let declare = |ops: &mut _| Inputs::declare(ops, contract, &instance);
        let tokens = settings.batch_size;
        match label.role {
            EMBEDDINGS => embeddings::function(settings, weights, tokens, declare),
            _ => chunk::function(settings, weights, &label.layers, (tokens, CacheOrder::Rows), declare),
        }
    }

    fn reads(&self, label: &Label) -> Reads {
        Stateful.reads(label)
    }

    fn oversize(&self, label: &Label) -> Oversize {
        Stateful.oversize(label)
    }
}
