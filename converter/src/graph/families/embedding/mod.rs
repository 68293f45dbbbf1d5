//! The embedding of a text: the whole model as one program without a cache, and without a head.
//!
//! # Shapes
//! Inputs: `input_ids` int32 `[1, context_length]` and `pooling` fp16 `[1, 1, context_length]`. Outputs: `hidden_state` and
//! `embedding` fp16 `[1, 1, hidden_size]`. Positions are those of the call, so rotations and masks are constants.

use std::rc::Rc;
use std::sync::Arc;

use anec_mil::{DataType, Function, SliceMasks, TensorType, Var};
use anec_schemas::contract::embedding::{CONTRACT, ENCODER, names};
use anec_schemas::contract::{Contract, Instance};

use super::conformity::Inputs;
use super::stateful::{Stateful, embeddings};
use super::{Cut, Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::graph::layers::LayerPart;
use crate::graph::layers::attention::{AttentionInputs, RowInputs};
use crate::graph::layers::kv_cache::OwnTokens;
use crate::graph::layers::mask::{self, Masks};
use crate::graph::layers::rotary::table_name;
use crate::graph::{Graph, int};
use crate::model::decoder_plan::{AttentionKind, WeightPath};
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct Embedding;

impl Family for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn cuts_layers(&self) -> bool {
        false
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        let end = cut.layers.last().map_or(0, |range| range.end);
        vec![Label { layers: 0..end, ..Label::only(ENCODER) }]
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
        let mut graph = Graph::new(weights, settings, settings.context_length);
        let inputs = Inputs::declare(&mut graph.ops, contract, &instance)?;
        let ids = inputs.get(names::INPUT_IDS);
        let embedded = embeddings::rows(&mut graph.ops, settings, graph.weights, "embedded_tokens", ids)?;
        let x = graph.enter_channels_first("hidden_states_channels_first", &embedded)?;
        let attention = AttentionInputs::Rows(attention_inputs(&mut graph)?);
        let x = graph.layers(&label.layers, &x, &attention, LayerPart::Whole)?;
        let normed = graph.rms_norm("norm", &x, &WeightPath::NORM, 1, settings.plan.stream_norm_eps)?;
        let rows = graph.leave_channels_first("normalized_states", &normed)?;
        let pooled = graph.ops.matmul(names::HIDDEN_STATE, inputs.get(names::POOLING), &rows, false, false)?;
        let column = graph.enter_channels_first("hidden_state_channels_first", &pooled)?;
        let unit = graph.unit_length("unit_state", &column, 1)?;
        let embedding = graph.leave_channels_first(names::EMBEDDING, &unit)?;
        Ok(graph.ops.finish(&[&pooled, &embedding]))
    }

    fn reads(&self, _label: &Label) -> Reads {
        Reads::Always
    }

    fn oversize(&self, _label: &Label) -> Oversize {
        Oversize::Refuse(
            "use fewer bits, a target that takes larger files, or `--layout prefill`, which cuts the model in files and gives \
             the hidden states of every token",
        )
    }
}

/// Masks and rotations of the positions from 0 on.
fn attention_inputs(graph: &mut Graph<'_>) -> Result<RowInputs, GraphError> {
    let (tokens, longest) = (int(graph.tokens), graph.settings.tables.positions);
    let mut rows = Vec::new();
    let ropes = graph.settings.tables.ropes.iter();
    for (number, table) in (1..).zip(ropes) {
        let end = [1, 1, tokens, int(table.rotary_dim)];
        let shape = [1, 1, longest, table.rotary_dim];
        let cos = first_rows(graph, &table_name(number, "cos"), shape, || Arc::clone(&table.cos), end)?;
        let sin = first_rows(graph, &table_name(number, "sin"), shape, || Arc::clone(&table.sin), end)?;
        rows.push([cos, sin]);
    }
    let rotations = graph.given_rotations(|number| {
        let [cos, sin] = rows.get(number - 1).expect("a row for each rotary embedding");
        [cos, sin]
    });
    let mut masks = Masks::default();
    for kind in graph.plan().layers.iter().map(|layer| layer.attention) {
        if masks.has(kind) {
            continue;
        }
        let (name, window) = match kind {
            AttentionKind::Sliding { window } if (window as u64) < longest => {
                (format!("window_{window}_mask"), window as u64)
            }
            AttentionKind::Sliding { .. } | AttentionKind::Full => ("mask".to_owned(), longest),
        };
        let (shape, end) = ([1, 1, longest, longest], [1, 1, tokens, tokens]);
        let mask = first_rows(graph, &name, shape, || mask::table(longest, window), end)?;
        let mask = graph.per_query_group(&format!("{name}_group"), &mask)?;
        masks.add(kind, mask);
    }
    let head_channels = graph.plan().head_dim as u64;
    Ok(RowInputs { masks, rotations, cache: Rc::new(OwnTokens), head_channels })
}

/// The first part of a table that is as long as the longest context of the conversion: tables of all contexts are one.
fn first_rows(
    graph: &mut Graph<'_>,
    name: &str,
    shape: [u64; 4],
    table: impl FnOnce() -> Arc<[u8]>,
    end: [i32; 4],
) -> Result<Var, GraphError> {
    let table = graph.weights.generated(name, TensorType::fixed(DataType::Float16, &shape), table);
    let table = graph.ops.constant(&format!("{name}_table"), table);
    if shape.map(int) == end {
        return Ok(table);
    }
    let masks = SliceMasks::end(&[true, true, false, false]);
    Ok(graph.ops.slice_by_index(name, &table, &[0, 0, 0, 0], &end, &masks)?)
}
