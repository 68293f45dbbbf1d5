//! What the successor of coreml-llm-cli drives: a function for a prompt of up to 512 tokens, which makes the caches, and one for
//! a token, which gives them shifted.

use anec_mil::ops::split::Split;
use anec_mil::{Function, FunctionBuilder};
use anec_schemas::contract::coreml_llm_cli::names;
use anec_schemas::contract::coreml_llm_cli::sequoia::{
    CACHE_PROCESSOR, CONTEXT, CONTRACT, EMBEDDINGS, GENERATION_KEYS, GENERATION_VALUES, LM_HEAD, LOGIT_PROCESSOR,
    PROMPT,
};
use anec_schemas::contract::{Contract, Instance, Size};

use super::chunk::{self, Kind};
use super::{embeddings, processors};
use crate::graph::families::conformity::Inputs;
use crate::graph::families::stateful::Stateful;
use crate::graph::families::{Cut, Family, Label, Oversize, Reads};
use crate::graph::layers::linear::Linear;
use crate::graph::{Graph, GraphError, ModelSettings, int};
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::weights::recipe::WeightKind;
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct Sequoia;

impl Family for Sequoia {
    fn name(&self) -> &'static str {
        "sequoia"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn positions(&self, plan: &DecoderPlan, longest: u32) -> u32 {
        super::positions(plan, longest)
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        super::labels(cut.layers)
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        Stateful.instance(settings, label).with_size(Size::CHUNK_LAYERS, label.layers.len() as u64)
    }

    fn function(
        &self,
        settings: &ModelSettings<'_>,
        label: &Label,
        name: &'static str,
        weights: &mut WeightFile,
    ) -> Result<Function, GraphError> {
        let instance = self.instance(settings, label);
        let contract = CONTRACT.function(label.role, name, &instance)?;
        let declare = |ops: &mut _| Inputs::declare(ops, contract, &instance);
        let is_prompt = name == PROMPT;
        let tokens = if is_prompt { CONTEXT } else { 1 };
        match label.role {
            EMBEDDINGS => embeddings::function(settings, weights, tokens, declare),
            LM_HEAD => head(settings, weights, tokens, declare),
            CACHE_PROCESSOR => processors::cache(settings, 1, [GENERATION_KEYS, GENERATION_VALUES], declare),
            LOGIT_PROCESSOR => processors::best(settings, declare),
            _ => {
                let kind = Kind { tokens, has_past: !is_prompt, gives_whole: true };
                chunk::function(settings, weights, &label.layers, kind, declare)
            }
        }
    }

    fn reads(&self, label: &Label) -> Reads {
        super::reads(label)
    }

    fn oversize(&self, label: &Label) -> Oversize {
        Stateful.oversize(label)
    }
}

/// Builds the function that gives the logits after the last token in one output.
///
/// # Shapes
/// `x` fp16 `[1, hidden_size, 1, tokens]` to `logits` fp16 `[1, 1, vocab_size]`.
fn head(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    tokens: u64,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, tokens);
    let inputs = declare(&mut graph.ops)?;
    let mut x = inputs.get(names::X).clone();
    if tokens > 1 {
        let cut = graph.ops.split("last_token", &x, Split::Sizes(&[int(tokens) - 1, 1]), 3)?;
        x = cut.into_iter().next_back().expect("a split has as many results as sizes");
    }
    let x = graph.rms_norm("norm", &x, &WeightPath::NORM, 1, plan.stream_norm_eps)?;
    let weight = graph.matrix(&WeightPath::LM_HEAD, [plan.vocab_size as u64, plan.hidden_size as u64]);
    let mut parts = Vec::with_capacity(settings.head_parts.len());
    for (number, part) in settings.head_parts.iter().enumerate() {
        let rows = weight.with_rows(part);
        let linear = Linear { label: "lm_head parts", rows, bias: None, kind: WeightKind::LmHead };
        let name = format!("lm_head_{number}");
        let product = graph.linear(&name, &x, &linear)?;
        let logits = graph.logits(&name, &product)?;
        let row = [1, 1, int(part.end - part.start)];
        let is_whole = settings.head_parts.len() == 1;
        let row_name = if is_whole { names::WHOLE_LOGITS.to_owned() } else { format!("{name}_row") };
        parts.push(graph.ops.reshape(&row_name, &logits, &row)?);
    }
    let logits = match &parts[..] {
        [only] => only.clone(),
        parts => graph.ops.concat(names::WHOLE_LOGITS, &parts.iter().collect::<Vec<_>>(), 2)?,
    };
    Ok(graph.ops.finish(&[&logits]))
}
