//! A plan as data: what `--json` prints.

use serde::Serialize;

use crate::plan::estimate::{self, Bounds, Cost};
use crate::plan::{ConversionPlan, Decision, FilePlan};

/// The plan as data. The fields are those of the longest context length; `other_contexts` has the rest.
#[derive(Serialize)]
pub(crate) struct PlanReport<'a> {
    model_type: &'a str,
    num_hidden_layers: usize,
    chip: &'static str,
    context_length: u32,
    batch_size: u32,
    files: Vec<FileReport<'a>>,
    lm_head_sizes: &'a [u64],
    total_bytes: u64,
    decisions: &'a [Decision],
    cost: Cost,
    bounds: Vec<BoundsReport>,
    first_load: Vec<String>,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_contexts: Vec<PlanReport<'a>>,
}

#[derive(Serialize)]
struct FileReport<'a> {
    name: &'a str,
    role: &'static str,
    functions: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<[usize; 2]>,
    operations: usize,
    weight_bytes: u64,
}

/// Upper bounds of the speed on one chip.
#[derive(Serialize)]
struct BoundsReport {
    chip: &'static str,
    gigabytes_per_second: f64,
    gigabytes_per_second_source: &'static str,
    decode_tokens_per_second: f64,
    prompt_tokens_per_second: f64,
    prompt_is_bounded_by_arithmetic: bool,
}

impl<'a> PlanReport<'a> {
    pub(crate) fn new(plan: &'a ConversionPlan, others: &'a [ConversionPlan]) -> Self {
        let cost = Cost::of(plan);
        let chips = if plan.options.target.is_neural_engine() { estimate::chips(&plan.options) } else { Vec::new() };
        Self {
            model_type: &plan.decoder.model_type,
            num_hidden_layers: plan.decoder.num_hidden_layers,
            chip: plan.options.chip.name(),
            context_length: plan.options.context_length,
            batch_size: plan.options.batch_size,
            files: plan.files.iter().map(FileReport::new).collect(),
            lm_head_sizes: &plan.head.sizes,
            total_bytes: plan.total_bytes(),
            decisions: &plan.decisions,
            cost,
            bounds: chips.into_iter().filter_map(|chip| cost.bounds(chip)).map(BoundsReport::new).collect(),
            first_load: estimate::first_load_hints(plan),
            warnings: &plan.warnings,
            other_contexts: others.iter().map(|other| Self::new(other, &[])).collect(),
        }
    }
}

impl BoundsReport {
    fn new(bounds: Bounds) -> Self {
        Self {
            chip: bounds.chip.name,
            gigabytes_per_second: bounds.bandwidth.value,
            gigabytes_per_second_source: bounds.bandwidth.source,
            decode_tokens_per_second: bounds.decode,
            prompt_tokens_per_second: bounds.prefill,
            prompt_is_bounded_by_arithmetic: bounds.prefill_is_compute_bound,
        }
    }
}

impl<'a> FileReport<'a> {
    fn new(file: &'a FilePlan) -> Self {
        let label = &file.label;
        Self {
            name: &file.stem,
            role: label.role.0,
            functions: file.functions().collect(),
            layers: label.has_layers().then_some([label.layers.start, label.layers.end]),
            operations: file.operation_count(),
            weight_bytes: file.weight_bytes,
        }
    }
}
