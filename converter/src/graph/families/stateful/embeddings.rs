//! The embeddings: token ids to hidden states.
//!
//! # Shapes
//! `input_ids` int32 `[1, tokens]`, with `tokens` 1 or `batch_size`, or always that of a single function, to `hidden_states`
//! fp16 `[1, tokens, hidden_size]`.

use anec_mil::{Function, FunctionBuilder, Var};
use anec_schemas::contract::stateful::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::{GraphError, ModelSettings, matrix};
use crate::model::decoder_plan::WeightPath;
use crate::weights::encodings::Constant;
use crate::weights::recipe::WeightKind;
use crate::weights::transform::Transform;
use crate::weights::weight_file::WeightFile;

/// Builds the function.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let mut ops = FunctionBuilder::new(settings.opset);
    let inputs = declare(&mut ops)?;
    let hidden_states = rows(&mut ops, settings, weights, names::HIDDEN_STATES, inputs.get(names::INPUT_IDS))?;
    Ok(ops.finish(&[&hidden_states]))
}

/// The rows of tokens.
///
/// # Shapes
/// `input_ids: int32 [1, tokens]`; the result is fp16 `[1, tokens, hidden_size]`.
pub(in crate::graph::families) fn rows(
    ops: &mut FunctionBuilder,
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    name: &str,
    input_ids: &Var,
) -> Result<Var, GraphError> {
    let plan = settings.plan;
    let (vocab_size, hidden_size) = (plan.vocab_size as u64, plan.hidden_size as u64);
    let mut rows = matrix(plan, weights, &WeightPath::EMBED_TOKENS, [vocab_size, hidden_size]);
    if plan.embedding_scale.total_cmp(&1.0).is_ne() {
        rows.transforms.push(Transform::scale(plan.embedding_scale));
    }
    let storage = settings.recipe.of(WeightKind::Embeddings, &rows.tensor);
    let stored = weights.looked_up(&rows, &[vocab_size, hidden_size], storage)?;
    let Constant { weight: table, result_scale } = stored.constant(ops, "embed_tokens_weight")?;
    assert!(result_scale.is_none(), "the planner refuses tables whose rows would have to be scaled");
    Ok(ops.gather(name, &table, input_ids, 0)?)
}
