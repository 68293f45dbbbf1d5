//! The embeddings: token ids to hidden states, and positions to rotations.
//!
//! # Shapes
//! `input_ids` int32 `[1, tokens]` and `position_ids` int32 `[tokens]` to `hidden_states` fp16 `[1, tokens, hidden_size]`, and
//! `cosN` and `sinN` fp16 `[1, 1, tokens, rotary_dim]` for each rotary embedding.

use anec_mil::{Function, FunctionBuilder};
use anec_schemas::contract::host_cache::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::families::stateful::embeddings;
use crate::graph::{Graph, GraphError, ModelSettings};
use crate::weights::weight_file::WeightFile;

/// Builds the function over so many tokens.
pub(in crate::graph::families) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    tokens: u64,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let ids = inputs.get(names::INPUT_IDS);
    let hidden_states = embeddings::rows(&mut graph.ops, settings, graph.weights, names::HIDDEN_STATES, ids)?;
    let positions = graph.gather_positions(inputs.get(names::POSITION_IDS))?;
    let mut outputs = vec![hidden_states];
    outputs.extend(graph.rotation_rows(names::COS, names::SIN, &positions)?);
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}
