//! `anec plan`.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::model_arguments::ModelArguments;
use crate::console::{Console, Failure};
use crate::options::ByteSize;
use crate::planner::{ConversionPlan, FilePlan, FileRole};

/// Arguments of `anec plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anec plan ./Qwen2.5-0.5B --lut 4\n  anec plan ./Llama-3.2-1B --lut 6 --chunks 2 --json"
)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// The plan as data.
#[derive(Serialize)]
pub(crate) struct PlanReport<'a> {
    model_type: &'a str,
    num_hidden_layers: usize,
    context_length: u32,
    batch_size: u32,
    files: Vec<FileReport<'a>>,
    lm_head_sizes: &'a [u64],
    total_bytes: u64,
    warnings: &'a [String],
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

impl<'a> PlanReport<'a> {
    pub(crate) fn new(plan: &'a ConversionPlan) -> Self {
        Self {
            model_type: &plan.decoder.model_type,
            num_hidden_layers: plan.decoder.num_hidden_layers,
            context_length: plan.options.context_length,
            batch_size: plan.options.batch_size,
            files: plan.files.iter().map(FileReport::new).collect(),
            lm_head_sizes: &plan.head.sizes,
            total_bytes: plan.total_bytes(),
            warnings: &plan.warnings,
        }
    }
}

impl<'a> FileReport<'a> {
    fn new(file: &'a FilePlan) -> Self {
        let (role, layers) = match &file.role {
            FileRole::Embeddings => ("embeddings", None),
            FileRole::Chunk { layers, .. } => ("chunk", Some([layers.start, layers.end])),
            FileRole::LmHead => ("lm_head", None),
        };
        Self {
            name: &file.stem,
            role,
            functions: file.functions().collect(),
            layers,
            operations: file.operation_count(),
            weight_bytes: file.weight_bytes,
        }
    }
}

/// Prints the plan.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let prepared = arguments.model.prepare(console)?;
    let text = if arguments.json {
        let json = serde_json::to_string_pretty(&PlanReport::new(&prepared.plan));
        json.map_err(|error| Failure { message: error.to_string(), hint: None })? + "\n"
    } else {
        table(&prepared.plan)
    };
    console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })
}

/// The plan as a table for people.
pub(crate) fn table(plan: &ConversionPlan) -> String {
    let width = plan.files.iter().map(|file| file.stem.len()).max().unwrap_or(0).max("package".len());
    let mut text =
        format!("{:<width$}  {:<15}  {:>7}  {:>6}  {:>10}\n", "package", "functions", "layers", "ops", "weights");
    for file in &plan.files {
        let layers = match &file.role {
            FileRole::Chunk { layers, .. } => format!("{}-{}", layers.start, layers.end - 1),
            _ => String::from("-"),
        };
        let functions = file.functions().collect::<Vec<_>>().join(", ");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<width$}  {functions:<15}  {layers:>7}  {:>6}  {:>10}",
            file.stem,
            file.operation_count(),
            ByteSize(file.weight_bytes).to_string()
        );
    }
    let _ = writeln!(
        text,
        "{:<width$}  {:<15}  {:>7}  {:>6}  {:>10}",
        "total",
        "",
        "",
        "",
        ByteSize(plan.total_bytes()).to_string()
    );
    text
}
