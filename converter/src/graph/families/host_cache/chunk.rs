//! A chunk of decoder layers that reads the caches which it is given.
//!
//! # Shapes
//! Inputs: `hidden_states` fp16 `[1, tokens, hidden_size]`, `maskN` fp16 `[1, 1, tokens, context_length + tokens]`, `cosN` and
//! `sinN` fp16 `[1, 1, tokens, rotary_dim]`, and the caches of [`kv_cache`](crate::graph::layers::kv_cache). Outputs:
//! `output_hidden_states` fp16 `[1, tokens, hidden_size]`, normalized after the model's last layer, and the new columns of the
//! caches.

use std::ops::Range;
use std::rc::Rc;

use anec_mil::{Function, FunctionBuilder};
use anec_schemas::contract::host_cache::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::layers::LayerPart;
use crate::graph::layers::attention::{AttentionInputs, RowInputs};
use crate::graph::layers::kv_cache::{CacheOrder, HostCache};
use crate::graph::{Graph, GraphError, ModelSettings};
use crate::model::decoder_plan::WeightPath;
use crate::weights::weight_file::WeightFile;

/// Builds the function over `layers` for so many tokens, with caches that lie as said.
pub(in crate::graph::families) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    layers: &Range<usize>,
    (tokens, order): (u64, CacheOrder),
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let numbered = |prefix: &str, number: usize| inputs.get(&format!("{prefix}{number}"));
    let given =
        (0..layers.len()).map(|number| [names::K_CACHE, names::V_CACHE].map(|name| numbered(name, number).clone()));
    let output_names = [names::NEW_K_CACHE, names::NEW_V_CACHE];
    let cache = Rc::new(HostCache::new(layers.start, order, given.collect(), output_names));
    let kinds = plan.layers.get(layers.clone()).expect("chunks have layers of the plan");
    let attention = AttentionInputs::Rows(RowInputs {
        masks: graph.given_masks(kinds, |number| numbered(names::MASK, number))?,
        rotations: graph.given_rotations(|number| [names::COS, names::SIN].map(|name| numbered(name, number))),
        cache: Rc::<HostCache>::clone(&cache),
        head_channels: plan.head_dim as u64,
    });
    let x = graph.enter_channels_first("hidden_states_channels_first", inputs.get(names::HIDDEN_STATES))?;
    let mut x = graph.layers(layers, &x, &attention, LayerPart::Whole)?;
    if layers.end == plan.num_hidden_layers {
        x = graph.rms_norm("norm", &x, &WeightPath::NORM, 1, settings.plan.stream_norm_eps)?;
    }
    let mut outputs = vec![graph.leave_channels_first(names::OUTPUT_HIDDEN_STATES, &x)?];
    outputs.extend(cache.outputs());
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}
