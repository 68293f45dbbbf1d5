//! A chunk of decoder layers with its functions: `infer` and `prefill`, or one that does the work of both.
//!
//! # Shapes
//! Inputs, with `tokens` = 1 in `infer` and `batch_size` in the others: `hidden_states` fp16 `[1, tokens, hidden_size]`,
//! `position_ids` int32 `[tokens]`, `causal_mask` fp16 `[1, 1, tokens, context_length]`, `current_pos` int32 `[1]`, and the
//! state of [`kv_cache`](crate::graph::layers::kv_cache). Output: `output_hidden_states` fp16 `[1, tokens, hidden_size]`, but
//! `[1, 1, hidden_size]` for the last chunk's `prefill`, whose clients never read it.
//!
//! Where layers keep their window only, there are one or two states of [`kv_cache`](crate::graph::layers::kv_cache), and in
//! the form that shifts, `infer_rotate` and `prefill_rotate` beside `infer` and `prefill`, for positions at which the window is
//! full.
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
use crate::graph::layers::kv_cache::{CacheInputs, Step, caches};
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
    let prefill = [names::PREFILL, names::PREFILL_ROTATE].contains(&name);
    let tokens = tokens(settings, name);
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let attention = attention_inputs(&mut graph, &inputs, layers, name)?;
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

/// Tokens that the function called `name` takes.
pub(in crate::graph::families) fn tokens(settings: &ModelSettings<'_>, name: &str) -> u64 {
    match name {
        names::INFER | names::INFER_ROTATE => 1,
        names::VERIFY => settings.verify_length(),
        _ => settings.batch_size,
    }
}

/// What the layers share where the function called `name` has positions, a mask and states.
pub(in crate::graph::families) fn attention_inputs(
    graph: &mut Graph<'_>,
    inputs: &Inputs,
    layers: &Range<usize>,
    name: &str,
) -> Result<AttentionInputs, GraphError> {
    let states = graph.settings.caches;
    let (full, window) = match (states.is_split(), states.window.is_some()) {
        (true, _) => (Some(names::KV_CACHE_GLOBAL), Some(names::KV_CACHE_LOCAL)),
        (false, true) => (None, Some(names::KV_CACHE)),
        (false, false) => (Some(names::KV_CACHE), None),
    };
    let step = if [names::INFER_ROTATE, names::PREFILL_ROTATE].contains(&name) { Step::Rotate } else { Step::Fill };
    let current_pos = inputs.get(names::CURRENT_POS);
    let mut position_ids = inputs.get(names::POSITION_IDS).clone();
    if step == Step::Rotate && layers.clone().all(|layer| states.is_windowed(layer)) {
        position_ids = from_current_pos(graph, &position_ids, current_pos)?;
    }
    let positions = graph.gather_positions(&position_ids)?;
    let kinds = graph.plan().layers.get(layers.clone()).expect("pieces have layers of the plan");
    let cache_inputs = CacheInputs {
        full: full.map(|name| inputs.get(name)),
        window: window.map(|name| inputs.get(name)),
        current_pos,
        causal_mask: inputs.get(names::CAUSAL_MASK),
        positions: &positions,
        step,
    };
    let (cache, masks) = caches(graph, &cache_inputs, layers)?;
    let rotations = graph.rotations(kinds, &positions)?;
    Ok(AttentionInputs::Rows(RowInputs { masks, rotations, cache, head_channels: states.head_channels() }))
}

/// The positions of the tokens counted from `current_pos`, which is where they start: functions all of whose layers shift their
/// windows have no other use for it, and every input must be used.
fn from_current_pos(graph: &mut Graph<'_>, position_ids: &Var, current_pos: &Var) -> Result<Var, GraphError> {
    let first = match graph.tokens {
        1 => position_ids.clone(),
        _ => graph.ops.slice_by_index("first_position", position_ids, &[0], &[1], &SliceMasks::end(&[false]))?,
    };
    let offset = graph.ops.sub("position_offset", current_pos, &first)?;
    Ok(graph.ops.add("positions", position_ids, &offset)?)
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
