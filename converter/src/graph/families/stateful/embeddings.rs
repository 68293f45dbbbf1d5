//! The embeddings: token ids to hidden states.
//!
//! # Shapes
//! `input_ids` int32 `[1, tokens]`, with `tokens` 1 or `batch_size`, or always that of a single function, to `hidden_states`
//! fp16 `[1, tokens, hidden_size]`.

use anec_mil::{Function, FunctionBuilder};
use anec_schemas::contract::stateful::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::{GraphError, ModelSettings, OPSET};
use crate::model::decoder_plan::Part;
use crate::weights::weight_file::{Rows, StoredWeight, WeightFile};

/// Builds the function.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let plan = settings.plan;
    let mut ops = FunctionBuilder::new(OPSET);
    let inputs = declare(&mut ops)?;
    let (vocab_size, hidden_size) = (plan.vocab_size as u64, plan.hidden_size as u64);
    let rows = Rows {
        tensor: plan.tensor(Part::EmbedTokens).name,
        rows: 0..vocab_size,
        first_column: 0,
        columns: hidden_size,
    };
    let table = match weights.weight(&rows, &[vocab_size, hidden_size], settings.embeddings)? {
        StoredWeight::Plain(value) => ops.constant("embed_tokens_weight", value),
        StoredWeight::Palettized { indices, lut, .. } => {
            ops.lut_to_dense("embed_tokens_weight_palettized", indices, lut)?
        }
        StoredWeight::Int8 { data, scale } => {
            ops.blockwise_shift_scale("embed_tokens_weight_quantized", data, scale, None)?
        }
    };
    let hidden_states = ops.gather(names::HIDDEN_STATES, &table, inputs.get(names::INPUT_IDS), 0)?;
    Ok(ops.finish(&[&hidden_states]))
}
