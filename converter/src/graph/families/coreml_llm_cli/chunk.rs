//! A chunk of decoder layers over a block.
//!
//! # Shapes
//! `x` fp16 `[1, hidden_size, 8, 8]`, `cos` and `sin` fp16 `[head_dim, 64]`, `mask` fp16 `[1, context_length, 1, 64]`, and for
//! each layer keys `[1, cache_length, 1, kv_size]` and values `[1, kv_size, 1, cache_length]`; to `new_x`, which is not
//! normalized, and the keys `[1, 64, 1, kv_size]` and values `[1, kv_size, 1, 64]` of the block.

use std::ops::Range;

use anec_mil::{Function, FunctionBuilder};
use anec_schemas::contract::coreml_llm_cli::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::layers::LayerPart;
use crate::graph::layers::attention::AttentionInputs;
use crate::graph::layers::attention_columns::ColumnInputs;
use crate::graph::{Graph, GraphError, ModelSettings};
use crate::weights::weight_file::WeightFile;

/// Builds the function over `layers`.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    layers: &Range<usize>,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let mut graph = Graph::new(weights, settings, settings.batch_size);
    let inputs = declare(&mut graph.ops)?;
    let given = (0..layers.len())
        .map(|number| [names::K_CACHE, names::V_CACHE].map(|name| inputs.get(&format!("{name}{number}")).clone()));
    let rotation = [names::COS, names::SIN].map(|name| inputs.get(name));
    let columns = ColumnInputs::new(&mut graph, inputs.get(names::MASK), rotation, layers.start, given.collect())?;
    let attention = AttentionInputs::Columns(columns);
    let x = graph.layers(layers, inputs.get(names::X), &attention, LayerPart::Whole)?;
    let mut outputs = vec![graph.ops.identity(names::NEW_X, &x)?];
    if let AttentionInputs::Columns(columns) = &attention {
        outputs.extend(columns.outputs());
    }
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}
