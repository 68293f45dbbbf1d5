//! A chunk of decoder layers with its functions: `infer` and `prefill`, or one that does the work of both.
//!
//! # Shapes
//! Inputs, with `tokens` = 1 in `infer` and `batch_size` in the others: `hidden_states` fp16 `[1, tokens, hidden_size]`,
//! `position_ids` int32 `[tokens]`, `causal_mask` fp16 `[1, 1, tokens, context_length]`, `current_pos` int32 `[1]`, and the
//! state of [`kv_cache`](crate::graph::layers::kv_cache). Output: `output_hidden_states` fp16 `[1, tokens, hidden_size]`, but
//! `[1, 1, hidden_size]` for the last chunk's `prefill`, whose clients never read it.
//!
//! A call writes the cache from `current_pos` on, so `current_pos + tokens` must not exceed `context_length`. A client of
//! the single function that has fewer tokens than rows puts them first: what the other rows leave in the cache lies behind
//! the current position, where the mask hides it until it is overwritten. At the end of the context it calls with the
//! last `tokens` positions and gives earlier tokens again.

use std::ops::Range;

use anec_mil::{Function, FunctionBuilder, SliceMasks, Var};
use anec_schemas::contract::stateful::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::layers::LayerPart;
use crate::graph::layers::attention::{AttentionInputs, RowInputs};
use crate::graph::layers::kv_cache::state_cache;
use crate::graph::{Graph, GraphError, ModelSettings, int};
use crate::model::decoder_plan::WeightPath;
use crate::weights::weight_file::WeightFile;

/// Builds the function called `name` over `layers`.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    layers: &Range<usize>,
    name: &str,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let prefill = name == names::PREFILL;
    let tokens = if name == names::INFER { 1 } else { settings.batch_size };
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let attention = attention_inputs(&mut graph, &inputs, layers)?;
    let x = graph.enter_channels_first("hidden_states_channels_first", inputs.get(names::HIDDEN_STATES))?;
    // What the model's last layer computes after its cache is written is read by nobody in prefill.
    let x = graph.layers(layers, &x, &attention, if prefill { LayerPart::Attention } else { LayerPart::Whole })?;
    let output = if layers.end == plan.num_hidden_layers {
        graph.last_output(&x, prefill)?
    } else {
        graph.leave_channels_first(names::OUTPUT_HIDDEN_STATES, &x)?
    };
    Ok(graph.ops.finish(&[&output]))
}

/// What the layers share where a function has positions, a mask and a state.
pub(in crate::graph::families) fn attention_inputs(
    graph: &mut Graph<'_>,
    inputs: &Inputs,
    layers: &Range<usize>,
) -> Result<AttentionInputs, GraphError> {
    let positions = graph.gather_positions(inputs.get(names::POSITION_IDS))?;
    let kinds = graph.plan().layers.get(layers.clone()).expect("pieces have layers of the plan");
    Ok(AttentionInputs::Rows(RowInputs {
        masks: graph.masks(kinds, inputs.get(names::CAUSAL_MASK), &positions)?,
        rotations: graph.rotations(kinds, &positions)?,
        cache: state_cache(graph, inputs.get(names::KV_CACHE), inputs.get(names::CURRENT_POS))?,
    }))
}

impl Graph<'_> {
    /// The output of the model's last chunk: normalized, but in `prefill` the first token, as it is.
    fn last_output(&mut self, x: &Var, prefill: bool) -> Result<Var, GraphError> {
        if !prefill {
            let normed = self.rms_norm("norm", x, &WeightPath::NORM, 1, self.plan().stream_norm_eps)?;
            return self.leave_channels_first(names::OUTPUT_HIDDEN_STATES, &normed);
        }
        let hidden_size = int(self.plan().hidden_size as u64);
        let end = [1, hidden_size, 1, 1];
        let masks = SliceMasks::end(&[true, true, true, false]);
        let first = self.ops.slice_by_index("first_token", x, &[0, 0, 0, 0], &end, &masks)?;
        self.leave_channels_first(names::OUTPUT_HIDDEN_STATES, &first)
    }
}
