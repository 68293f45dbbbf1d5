//! Programs over a Core ML state, as ANEMLL's clients drive them: embeddings, chunks of decoder layers, LM head.

pub(super) mod chunk;
pub(super) mod embeddings;
pub(super) mod lm_head;

use anec_mil::Function;
use anec_schemas::contract::stateful::{
    ARGMAX, CHUNK, CONTRACT, EMBEDDINGS, LAST_CHUNK, LM_HEAD, ROTATE, SINGLE, SPLIT_CACHE, VERIFY,
};
use anec_schemas::contract::{Contract, Instance, Size};

use super::conformity::Inputs;
use super::{Cut, Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::options::Functions;
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct Stateful;

impl Family for Stateful {
    fn name(&self) -> &'static str {
        "stateful"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        let mut labels = vec![Label::only(EMBEDDINGS)];
        labels.extend(Label::of_layers(CHUNK, cut.layers));
        labels.push(Label::only(LM_HEAD));
        labels
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        let plan = settings.plan;
        let part_sizes: Vec<u64> = settings.head_parts.iter().map(|part| part.end - part.start).collect();
        let is_last = label.has_layers() && label.layers.end == plan.num_hidden_layers;
        let caches = settings.caches;
        let split = caches.is_split();
        let mut instance = Instance::default().with_size(Size::CACHE_LENGTH, settings.context_length);
        if let Some(window) = &caches.window {
            // One state of windows has the name that one state of the whole context has.
            let length = if split { Size::WINDOW_LENGTH } else { Size::CACHE_LENGTH };
            instance = instance
                .with_size(length, window.shape.positions)
                .with_size(Size::NUM_LOCAL_LAYERS, window.shape.layers.len() as u64)
                .with_size(Size::NUM_GLOBAL_LAYERS, caches.full.layers.len() as u64);
        }
        instance
            .with_size(Size::CONTEXT_LENGTH, settings.context_length)
            .with_size(Size::BATCH_SIZE, settings.batch_size)
            .with_size(Size::QUERY_LENGTH, settings.batch_size)
            .with_size(Size::VOCAB_SIZE, plan.vocab_size as u64)
            .with_size(Size::HIDDEN_SIZE, plan.hidden_size as u64)
            .with_size(Size::NUM_HIDDEN_LAYERS, plan.num_hidden_layers as u64)
            .with_size(Size::NUM_KEY_VALUE_HEADS, plan.num_key_value_heads as u64)
            .with_size(Size::HEAD_DIM, caches.head_channels())
            .with_size(Size::SPLIT_LM_HEAD, part_sizes.len() as u64)
            .with_sizes(Size::LM_HEAD_CHUNK_SIZES, &part_sizes)
            .with_variant(SINGLE, settings.functions == Functions::Single)
            .with_size(Size::VERIFY_LENGTH, settings.verify_length())
            .with_variant(VERIFY, settings.verify_length() > 0)
            .with_variant(SPLIT_CACHE, split)
            .with_variant(ROTATE, caches.rotates())
            .with_variant(ARGMAX, settings.argmax)
            .with_variant(LAST_CHUNK, is_last)
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
            EMBEDDINGS => embeddings::function(settings, weights, declare),
            LM_HEAD => lm_head::function(settings, weights, name, declare),
            _ => chunk::function(settings, weights, &label.layers, name, declare),
        }
    }

    fn reads(&self, label: &Label) -> Reads {
        match label.role {
            EMBEDDINGS => Reads::Rows,
            LM_HEAD => Reads::Decoding,
            _ => Reads::Always,
        }
    }

    fn oversize(&self, label: &Label) -> Oversize {
        match label.role {
            EMBEDDINGS => Oversize::Warn("use `--int8-embeddings` or `--lut-embeddings 8`"),
            LM_HEAD => Oversize::Refuse(
                "palettize the head (`--lut-lm-head 6`), or raise `--size-limit` for a target that takes it",
            ),
            _ => Oversize::Refuse(
                "use more chunks (`--chunks auto`), fewer bits (`--lut 4`), or raise `--size-limit` for a target that \
                 takes it",
            ),
        }
    }
}
