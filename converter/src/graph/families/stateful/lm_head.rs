//! The LM head: hidden states to logits, or to the best token of each part.
//!
//! # Shapes
//! `hidden_states` fp16 `[1, 1, hidden_size]` to `logits1 ..= logitsN`, fp16 `[1, 1, rows of the part]`; or to
//! `argmax_idx` int32 `[N]`, counted inside each part, and `argmax_val` fp16 `[N]`. Behind a single function of `tokens`
//! rows it takes `[1, tokens, hidden_size]` and gives `[1, tokens, rows of the part]`, or `[tokens, N]`.

use anec_mil::{Function, FunctionBuilder, Var};
use anec_schemas::contract::stateful::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::layers::linear::Linear;
use crate::graph::{Graph, GraphError, ModelSettings, int};
use crate::model::decoder_plan::WeightPath;
use crate::options::Functions;
use crate::weights::recipe::WeightKind;
use crate::weights::weight_file::WeightFile;

/// Builds the function called `name`.
pub(in crate::graph::families) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    name: &str,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let tokens = match settings.functions {
        Functions::InferPrefillVerify(rows) if name == names::VERIFY => u64::from(rows.get()),
        Functions::InferPrefill | Functions::InferPrefillVerify(_) => 1,
        Functions::Single => settings.batch_size,
    };
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let x = graph.enter_channels_first("hidden_states_channels_first", inputs.get(names::HIDDEN_STATES))?;
    let outputs = outputs(&mut graph, &x, tokens)?;
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}

/// The outputs of the head for normalized hidden states.
///
/// # Shapes
/// `x: [1, hidden_size, 1, tokens]`.
pub(in crate::graph::families) fn outputs(graph: &mut Graph<'_>, x: &Var, tokens: u64) -> Result<Vec<Var>, GraphError> {
    let settings = graph.settings;
    let plan = settings.plan;
    let weight = graph.matrix(&WeightPath::LM_HEAD, [plan.vocab_size as u64, plan.hidden_size as u64]);
    // Clients of `infer` read one number per part.
    let is_query = settings.functions == Functions::Single || tokens > 1;
    let (shape, axis): (&[i32], i32) = if is_query { (&[int(tokens), 1], 1) } else { (&[1], 0) };
    let mut outputs = Vec::with_capacity(settings.head_parts.len());
    let mut indices = Vec::new();
    let mut values = Vec::new();
    for (number, rows) in (1..).zip(settings.head_parts) {
        let rows = weight.with_rows(rows);
        let linear = Linear { label: "lm_head parts", rows, bias: None, kind: WeightKind::LmHead };
        let name = format!("lm_head_{number}");
        let product = graph.linear(&name, x, &linear)?;
        let logits = graph.logits(&name, &product)?;
        if settings.argmax {
            let index = graph.ops.reduce_argmax(&format!("argmax_idx_{number}"), &logits, 1, false)?;
            let value = graph.ops.reduce_max(&format!("argmax_val_{number}"), &logits, &[1], false)?;
            indices.push(graph.ops.reshape(&format!("argmax_idx_{number}_flat"), &index, shape)?);
            values.push(graph.ops.reshape(&format!("argmax_val_{number}_flat"), &value, shape)?);
        } else {
            outputs.push(graph.leave_channels_first(&format!("{}{number}", names::LOGITS), &logits)?);
        }
    }
    if settings.argmax {
        outputs.push(graph.ops.concat(names::ARGMAX_INDEX, &indices.iter().collect::<Vec<_>>(), axis)?);
        outputs.push(graph.ops.concat(names::ARGMAX_VALUE, &values.iter().collect::<Vec<_>>(), axis)?);
    }
    Ok(outputs)
}
