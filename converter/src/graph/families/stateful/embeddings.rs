//! The embeddings: token ids to hidden states.
//!
//! # Shapes
//! `input_ids` int32 `[1, tokens]`, with `tokens` 1 or `batch_size`, or always that of a single function, to `hidden_states` fp16 `[1, tokens, hidden_size]`.

use anec_mil::{DataType, Dimension, Function, FunctionBuilder, TensorType};

use crate::graph::{GraphError, ModelSettings, OPSET, matrix};
use crate::model::decoder_plan::WeightPath;
use crate::options::{Compression, Functions};
use crate::weights::transform::Transform;
use crate::weights::weight_file::{StoredWeight, WeightFile};

/// Name of the token ids.
pub(crate) const INPUT: &str = "input_ids";

/// Builds the function.
pub(crate) fn function(
    settings: &ModelSettings<'_>,
    compression: Option<Compression>,
    weights: &mut WeightFile,
) -> Result<Function, GraphError> {
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
    let table = match weights.weight(&rows, &[vocab_size, hidden_size], compression)? {
        StoredWeight::Plain(value) => ops.constant("embed_tokens_weight", value),
        StoredWeight::Palettized { indices, lut, .. } => {
            ops.lut_to_dense("embed_tokens_weight_palettized", indices, lut)?
        }
        StoredWeight::Int8 { data, scale } => {
            ops.blockwise_shift_scale("embed_tokens_weight_quantized", data, scale, None)?
        }
    };
    let hidden_states = ops.gather("hidden_states", &table, &input_ids, 0)?;
    Ok(ops.finish(&[&hidden_states]))
}
