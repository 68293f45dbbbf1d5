//! The last model of the pipeline: norm and LM head over a block.
//!
//! # Shapes
//! `x` fp16 `[1, hidden_size, 8, 8]` to `logits`, or `logits_0 ..= logits_N`, fp16 `[1, 64, rows of the part]`.

use anec_mil::{Function, FunctionBuilder};
use anec_schemas::contract::coreml_llm_cli::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::layers::linear::Linear;
use crate::graph::{Graph, GraphError, ModelSettings, int};
use crate::model::decoder_plan::WeightPath;
use crate::weights::recipe::WeightKind;
use crate::weights::weight_file::WeightFile;

/// Builds the function.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, settings.batch_size);
    let inputs = declare(&mut graph.ops)?;
    let x = graph.rms_norm("norm", inputs.get(names::X), &WeightPath::NORM, 1, plan.stream_norm_eps)?;
    let weight = graph.matrix(&WeightPath::LM_HEAD, [plan.vocab_size as u64, plan.hidden_size as u64]);
    let mut outputs = Vec::with_capacity(settings.head_parts.len());
    for (number, part) in settings.head_parts.iter().enumerate() {
        let linear =
            Linear { label: "lm_head parts", rows: weight.with_rows(part), bias: None, kind: WeightKind::LmHead };
        let name = format!("lm_head_{number}");
        let product = graph.linear(&name, &x, &linear)?;
        let logits = graph.logits(&name, &product)?;
        let row = [1, int(part.end - part.start), int(graph.tokens)];
        let row = graph.ops.reshape(&format!("{name}_row"), &logits, &row)?;
        outputs.push(graph.ops.transpose(&output_name(settings, number), &row, &[0, 2, 1])?);
    }
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}

/// What the logits of a part are called.
pub(super) fn output_name(settings: &ModelSettings<'_>, number: usize) -> String {
    match settings.head_parts.len() {
        1 => names::WHOLE_LOGITS.to_owned(),
        _ => format!("{}{number}", names::LOGITS),
    }
}
