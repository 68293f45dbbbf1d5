//! Programs without a Core ML state: the client keeps keys and values. Embeddings look up rotations too, so that chunks gather
//! nothing and clients need no tables; the LM head is that of the stateful family.

pub(super) mod chunk;
pub(super) mod embeddings;

use std::ops::Range;

use anec_mil::Function;
use anec_schemas::contract::host_cache::{CHUNK, CONTRACT, EMBEDDINGS, FUNCTIONS, LM_HEAD};
use anec_schemas::contract::{Contract, Instance, Size};

use super::conformity::Inputs;
use super::stateful::{Stateful, lm_head};
use super::{Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::graph::layers::kv_cache::CacheOrder;
use crate::graph::layers::mask;
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct HostCache;

impl Family for HostCache {
    fn name(&self) -> &'static str {
        "host-cache"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn labels(&self, layers: &[Range<usize>]) -> Vec<Label> {
        let mut labels = vec![Label::only(EMBEDDINGS)];
        labels.extend(Label::of_layers(CHUNK, layers));
        labels.push(Label::only(LM_HEAD));
        labels
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        let rotary_dims: Vec<u64> = settings.tables.ropes.iter().map(|rope| rope.rotary_dim).collect();
        let masks = mask::windows(settings.plan, settings.context_length).len() as u64;
        Stateful
            .instance(settings, label)
            .with_size(Size::CHUNK_LAYERS, label.layers.len() as u64)
            .with_size(Size::ATTENTION_MASKS, masks)
            .with_size(Size::ROTARY_EMBEDDINGS, rotary_dims.len() as u64)
            .with_sizes(Size::ROTARY_DIMS, &rotary_dims)
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
        let found = FUNCTIONS.iter().find(|(_, function)| *function == name);
        let tokens = found.map_or(settings.batch_size, |(tokens, _)| *tokens);
        match label.role {
            EMBEDDINGS => embeddings::function(settings, weights, tokens, declare),
            LM_HEAD => lm_head::function(settings, weights, name, declare),
            _ => chunk::function(settings, weights, &label.layers, (tokens, CacheOrder::Columns), declare),
        }
    }

    fn reads(&self, label: &Label) -> Reads {
        Stateful.reads(label)
    }

    fn oversize(&self, label: &Label) -> Oversize {
        Stateful.oversize(label)
    }
}
