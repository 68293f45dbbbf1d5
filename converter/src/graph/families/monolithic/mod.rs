//! The whole model as one program over a Core ML state: token ids to logits.
//!
//! # Shapes
//! Inputs, with `tokens` = 1 in `infer` and `batch_size` in `prefill`: `input_ids` int32 `[1, tokens]`, and positions, mask and
//! state as in a [`chunk`]. Outputs: those of the [`lm_head`] for one token, in `prefill` the last of the batch.

use anec_mil::{Function, SliceMasks, Var};
use anec_schemas::contract::monolithic::{CONTRACT, MODEL};
use anec_schemas::contract::stateful::names;
use anec_schemas::contract::{Contract, Instance};

use super::conformity::Inputs;
use super::stateful::{Stateful, chunk, embeddings, lm_head};
use super::{Cut, Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::graph::layers::LayerPart;
use crate::graph::{Graph, int};
use crate::model::decoder_plan::WeightPath;
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct Monolithic;

impl Family for Monolithic {
    fn name(&self) -> &'static str {
        "monolithic"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn cuts_layers(&self) -> bool {
        false
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        let end = cut.layers.last().map_or(0, |range| range.end);
        vec![Label { layers: 0..end, ..Label::only(MODEL) }]
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        Stateful.instance(settings, label)
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
        let tokens = chunk::tokens(settings, name);
        let mut graph = Graph::new(weights, settings, tokens);
        let inputs = Inputs::declare(&mut graph.ops, contract, &instance)?;
        let ids = inputs.get(names::INPUT_IDS);
        let embedded = embeddings::rows(&mut graph.ops, settings, graph.weights, "embedded_tokens", ids)?;
        let x = graph.enter_channels_first("hidden_states_channels_first", &embedded)?;
        let attention = chunk::attention_inputs(&mut graph, &inputs, &label.layers, name)?;
        let x = graph.layers(&label.layers, &x, &attention, LayerPart::Whole)?;
        let x = last_token(&mut graph, &x)?;
        let normed = graph.rms_norm("norm", &x, &WeightPath::NORM, 1, settings.plan.stream_norm_eps)?;
        let outputs = lm_head::outputs(&mut graph, &normed, 1)?;
        Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
    }

    fn reads(&self, _label: &Label) -> Reads {
        Reads::Always
    }

    fn oversize(&self, _label: &Label) -> Oversize {
        Oversize::Refuse(
            "use fewer bits, a target that takes larger files, or `--layout anemll`, which cuts the model in files",
        )
    }
}

/// `[1, hidden_size, 1, tokens]` to `[1, hidden_size, 1, 1]`.
fn last_token(graph: &mut Graph<'_>, x: &Var) -> Result<Var, GraphError> {
    if graph.tokens == 1 {
        return Ok(x.clone());
    }
    let (hidden_size, tokens) = (int(graph.plan().hidden_size as u64), int(graph.tokens));
    let (begin, end) = ([0, 0, 0, tokens - 1], [1, hidden_size, 1, tokens]);
    Ok(graph.ops.slice_by_index("last_token", x, &begin, &end, &SliceMasks::end(&[true, true, true, true]))?)
}
