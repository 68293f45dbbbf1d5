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

use anec_mil::{DataType, Function, SliceMasks, TensorType, Var};

use crate::graph::layers::LayerPart;
use crate::graph::layers::attention::AttentionInputs;
use crate::graph::layers::kv_cache::{STATE_NAME, state_cache};
use crate::graph::{Graph, GraphError, ModelSettings, int};
use crate::model::decoder_plan::WeightPath;
use crate::options::Functions;
use crate::weights::weight_file::WeightFile;

/// A function of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkFunction {
    /// Takes one token.
    Infer,
    /// Takes a batch of tokens of the prompt.
    Prefill,
    /// Takes a batch of tokens, and every one is decoded.
    Single,
}

impl ChunkFunction {
    /// The functions that a chunk has.
    pub(crate) fn all(functions: Functions) -> &'static [Self] {
        match functions {
            Functions::InferPrefill => &[Self::Infer, Self::Prefill],
            Functions::Single => &[Self::Single],
        }
    }

    /// Its name in the package.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Infer => INFER,
            Self::Prefill => "prefill",
            Self::Single => "main",
        }
    }
}

/// The function that takes one token, which is the default of a package.
pub(crate) const INFER: &str = "infer";
/// The result of each.
pub(crate) const OUTPUT: &str = "output_hidden_states";

/// Builds one function over `layers`.
pub(crate) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    layers: Range<usize>,
    function: ChunkFunction,
) -> Result<Function, GraphError> {
    let prefill = function == ChunkFunction::Prefill;
    let tokens = if function == ChunkFunction::Infer { 1 } else { settings.batch_size };
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, tokens);
    let fp16 = |shape: &[u64]| TensorType::fixed(DataType::Float16, shape);
    let int32 = |shape: &[u64]| TensorType::fixed(DataType::Int32, shape);
    let hidden_states = graph.ops.input("hidden_states", fp16(&[1, tokens, plan.hidden_size as u64]));
    let position_ids = graph.ops.input("position_ids", int32(&[tokens]));
    let causal_mask = graph.ops.input("causal_mask", fp16(&[1, 1, tokens, settings.context_length]));
    let current_pos = graph.ops.input("current_pos", int32(&[1]));
    let state_type = graph.state_type();
    let state = graph.ops.input(STATE_NAME, anec_mil::ValueType::State(state_type));

    let positions = graph.gather_positions(&position_ids)?;
    let kinds = plan.layers.get(layers.clone()).expect("chunks have layers of the plan");
    let inputs = AttentionInputs {
        masks: graph.masks(kinds, &causal_mask, &positions)?,
        rotations: graph.rotations(kinds, &positions)?,
        cache: state_cache(&mut graph, &state, &current_pos)?,
    };
    let last_chunk = layers.end == plan.num_hidden_layers;
    let mut x = graph.enter_channels_first("hidden_states_channels_first", &hidden_states)?;
    for layer in layers.clone() {
        // What the model's last layer computes after its cache is written is read by nobody in prefill.
        let last = prefill && layer + 1 == plan.num_hidden_layers;
        x = graph.layer(layer, &x, &inputs, if last { LayerPart::Attention } else { LayerPart::Whole })?;
    }
    let output = if last_chunk { graph.last_output(&x, prefill)? } else { graph.leave_channels_first(OUTPUT, &x)? };
    Ok(graph.ops.finish(&[&output]))
}

impl Graph<'_> {
    /// The output of the model's last chunk: normalized, but in `prefill` the first token, as it is.
    fn last_output(&mut self, x: &Var, prefill: bool) -> Result<Var, GraphError> {
        if !prefill {
            let normed = self.rms_norm("norm", x, &WeightPath::NORM, 1)?;
            return self.leave_channels_first(OUTPUT, &normed);
        }
        let hidden_size = int(self.plan().hidden_size as u64);
        let end = [1, hidden_size, 1, 1];
        let masks = SliceMasks::end(&[true, true, true, false]);
        let first = self.ops.slice_by_index("first_token", x, &[0, 0, 0, 0], &end, &masks)?;
        self.leave_channels_first(OUTPUT, &first)
    }
}
