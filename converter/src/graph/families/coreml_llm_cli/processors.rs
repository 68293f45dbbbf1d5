//! The models beside the pipeline, without weights: one shifts the cache of a layer, one picks tokens.

use anec_mil::{Function, FunctionBuilder, SliceMasks, Value, Var};
use anec_schemas::contract::coreml_llm_cli::names;

use super::head;
use crate::graph::families::conformity::Inputs;
use crate::graph::{GraphError, ModelSettings, int};

/// Builds the function that puts a block behind the cache and drops as much at its start.
///
/// # Shapes
/// Keys `[1, cache_length, 1, kv_size]` and `[1, 64, 1, kv_size]`, values with the second axis last; the results are like
/// the caches.
pub(super) fn cache(
    settings: &ModelSettings<'_>,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let mut ops = FunctionBuilder::new(settings.opset);
    let inputs = declare(&mut ops)?;
    let (kv_size, context) = (int(settings.plan.kv_size() as u64), int(settings.context_length));
    let block = int(settings.batch_size);
    let keys = ops.concat("keys", &[inputs.get(names::OLD_KEYS), inputs.get(names::NEW_KEYS)], 1)?;
    let values = ops.concat("values", &[inputs.get(names::OLD_VALUES), inputs.get(names::NEW_VALUES)], 3)?;
    let to_end = SliceMasks::end(&[true, true, true, true]);
    let outputs = [
        ops.slice_by_index(names::UPDATED_KEYS, &keys, &[0, block, 0, 0], &[1, context, 1, kv_size], &to_end)?,
        ops.slice_by_index(names::UPDATED_VALUES, &values, &[0, 0, 0, block], &[1, kv_size, 1, context], &to_end)?,
    ];
    Ok(ops.finish(&outputs.iter().collect::<Vec<_>>()))
}

/// Builds the function that picks the best token of each column: that of each part first, then that of the parts.
///
/// # Shapes
/// The outputs of the [`head`]; the result is int32 `[1, 64]`.
pub(super) fn logits(
    settings: &ModelSettings<'_>,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let mut ops = FunctionBuilder::new(settings.opset);
    let inputs = declare(&mut ops)?;
    if settings.head_parts.len() == 1 {
        let best = ops.reduce_argmax(names::ARGMAX, inputs.get(names::WHOLE_LOGITS), -1, false)?;
        return Ok(ops.finish(&[&best]));
    }
    let mut tokens: Vec<Var> = Vec::with_capacity(settings.head_parts.len());
    let mut values: Vec<Var> = Vec::with_capacity(settings.head_parts.len());
    for (number, part) in settings.head_parts.iter().enumerate() {
        let logits = inputs.get(&head::output_name(settings, number));
        let index = ops.reduce_argmax(&format!("index_{number}"), logits, -1, false)?;
        let start = ops.constant(&format!("start_{number}"), Value::int32(int(part.start)));
        tokens.push(ops.add(&format!("token_{number}"), &index, &start)?);
        values.push(ops.reduce_max(&format!("value_{number}"), logits, &[-1], false)?);
    }
    let tokens = ops.concat("tokens", &tokens.iter().collect::<Vec<_>>(), 0)?;
    let values = ops.concat("values", &values.iter().collect::<Vec<_>>(), 0)?;
    let part = ops.reduce_argmax("best_part", &values, 0, true)?;
    let best = ops.gather_along_axis(names::ARGMAX, &tokens, &part, 0)?;
    Ok(ops.finish(&[&best]))
}
