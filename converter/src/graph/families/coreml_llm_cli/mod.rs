//! What coreml-llm-cli drives: blocks of 64 tokens, computed anew until they are full, over a cache that the client keeps and
//! a model of its own shifts. Inside, a block lies as a square of 8 by 8 where it is multiplied with weights, and as a row
//! where it attends.

mod chunk;
mod embeddings;
mod head;
mod processors;
pub(crate) mod sequoia;

use std::ops::Range;

use anec_mil::Function;
use anec_schemas::contract::coreml_llm_cli::{
    BLOCK, CACHE_PROCESSOR, CHUNK, CONTRACT, EMBEDDINGS, LM_HEAD, LOGIT_PROCESSOR, WHOLE_HEAD, names,
};
use anec_schemas::contract::{Contract, Instance, Size};

use self::chunk::Kind;
use super::conformity::Inputs;
use super::stateful::Stateful;
use super::{Cut, Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::graph::Tables;
use crate::model::decoder_plan::DecoderPlan;
use crate::weights::weight_file::WeightFile;

/// The most positions that tables have: a conversation that goes beyond them would be longer than any screen.
const MOST_POSITIONS: usize = 32_768;

/// Positions that tables have.
fn positions(plan: &DecoderPlan, longest: u32) -> u32 {
    let trained = u32::try_from(plan.max_position_embeddings.min(MOST_POSITIONS)).unwrap_or(u32::MAX);
    let most = trained.max(longest);
    // Where rotations depend on how many there are, those of the context are the ones that the client needs.
    let keeps = Tables::new(plan, longest).begin(&Tables::new(plan, most));
    if keeps { most } else { longest }
}

/// The pieces of both pipelines: the models of a token, and those beside them.
fn labels(layers: &[Range<usize>]) -> Vec<Label> {
    let mut labels = vec![Label::only(EMBEDDINGS)];
    labels.extend(Label::of_layers(CHUNK, layers));
    labels.extend([LM_HEAD, CACHE_PROCESSOR, LOGIT_PROCESSOR].map(Label::only));
    labels
}

/// What a call of a piece reads; the processors have no weights.
fn reads(label: &Label) -> Reads {
    match label.role {
        CACHE_PROCESSOR | LOGIT_PROCESSOR => Reads::Rows,
        _ => Stateful.reads(label),
    }
}

/// The family.
pub(crate) struct CoremlLlmCli;

impl Family for CoremlLlmCli {
    fn name(&self) -> &'static str {
        "coreml-llm-cli"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    /// A conversation may outgrow the context, and positions go on.
    fn positions(&self, plan: &DecoderPlan, longest: u32) -> u32 {
        positions(plan, longest)
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        labels(cut.layers)
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        Stateful
            .instance(settings, label)
            .with_size(Size::CACHE_LENGTH, settings.context_length.saturating_sub(BLOCK))
            .with_size(Size::CHUNK_LAYERS, label.layers.len() as u64)
            .with_variant(WHOLE_HEAD, settings.head_parts.len() == 1)
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
        match label.role {
            EMBEDDINGS => embeddings::function(settings, weights, settings.batch_size, declare),
            LM_HEAD => head::function(settings, weights, declare),
            CACHE_PROCESSOR => {
                processors::cache(settings, BLOCK, [names::UPDATED_KEYS, names::UPDATED_VALUES], declare)
            }
            LOGIT_PROCESSOR => processors::logits(settings, declare),
            _ => {
                let kind = Kind { tokens: settings.batch_size, has_past: true, gives_whole: false };
                chunk::function(settings, weights, &label.layers, kind, declare)
            }
        }
    }

    fn reads(&self, label: &Label) -> Reads {
        reads(label)
    }

    fn oversize(&self, label: &Label) -> Oversize {
        Stateful.oversize(label)
    }
}
