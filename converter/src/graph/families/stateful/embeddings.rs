//! The embeddings: token ids to hidden states.
//!
//! # Shapes
//! `input_ids` int32 `[1, tokens]`, with `tokens` 1 or `batch_size`, or always that of a single function, to `hidden_states` fp16 `[1, tokens, hidden_size]`.

use anec_mil::{DataType, Dimension, Function, FunctionBuilder, TensorType};

use crate::graph::{GraphError, ModelSettings, OPSET, matrix};
use crate::model::decoder_plan::WeightPath;
use crate::options::Functions;
use crate::weights::encodings::Constant;
use crate::weights::recipe::WeightKind;
use crate::weights::transform::Transform;
use crate::weights::weight_file::WeightFile;

/// Name of the token ids.
pub(crate) const INPUT: &str = "input_ids";

/// Builds the function.
pub(crate) fn function(settings: &ModelSettings<'_>, weights: &mut WeightFile) -> Result<Function, GraphError> {
    let plan = settings.plan;
    let mut ops = FunctionBuilder::new(OPSET);
    let tokens = match settings.functions {
        Functions::InferPrefill if settings.batch_size > 1 => Dimension::Unknown,
        _ => Dimension::Fixed(settings.batch_size),
    };
    let ids_type = TensorType { dtype: DataType::Int32, shape: vec![Dimension::Fixed(1), tokens] };
    let input_ids = ops.input(INPUT, ids_type);
    let (vocab_size, hidden_size) = (plan.vocab_size as u64, plan.hidden_size as u64);
    let mut rows = matrix(plan, weights, &WeightPath::EMBED_TOKENS, [vocab_size, hidden_size]);
    if plan.embedding_scale.total_cmp(&1.0).is_ne() {
        rows.transforms.push(Transform::scale(plan.embedding_scale));
    }
    let storage = settings.recipe.of(WeightKind::Embeddings, &rows.tensor);
    let stored = weights.weight(&rows, &[vocab_size, hidden_size], storage)?;
    let Constant { weight: table, result_scale } = stored.constant(&mut ops, "embed_tokens_weight")?;
    assert!(result_scale.is_none(), "the planner refuses tables whose rows would have to be scaled");
    let hidden_states = ops.gather("hidden_states", &table, &input_ids, 0)?;
    Ok(ops.finish(&[&hidden_states]))
}
