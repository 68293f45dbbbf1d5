//! `anec plan`.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::calibration::{CalibrationReport, PlannedCalibration};
use super::model_arguments::{ModelArguments, OUTPUT};
use super::plan_layouts;
use super::plan_report::PlanReport;
use crate::console::{Console, Failure};
use crate::error::render;
use crate::options::ByteSize;
use crate::plan::ConversionPlan;
use crate::plan::estimate::{self, Bounds, Cost};

/// Arguments of `anec plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs only config.json: MODEL_DIR may be a directory without weights, or the file itself.

Examples:
  anec plan ./Qwen2.5-0.5B --lut 4
  anec plan ./Llama-3.2-1B --lut 6 --chunks 2 --json
  anec plan ./config.json --chip m4-pro --target macos15 --context-length 512,4096")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Print the plan as JSON.
    #[arg(help_heading = OUTPUT, long)]
    json: bool,

    /// Print what every layout costs, side by side, instead of the plan of one.
    #[arg(help_heading = OUTPUT, long)]
    layouts: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    plan: PlanReport<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<CalibrationReport>,
}

/// Prints the plan.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let (plans, checkpoint) = arguments.model.prepare_plans(console)?;
    if arguments.layouts {
        return compare_layouts(&plans.longest, arguments.json, console);
    }
    let planned = PlannedCalibration::new(&arguments.model.storage, &plans.longest)?;
    if let Some((planned, checkpoint)) = planned.as_ref().zip(checkpoint.as_ref())
        && let Err(error) = planned.check(checkpoint, &plans.longest, console)
    {
        console.warning(&format!("`anec convert` will refuse this: {}", render(&error)));
    }
    let calibration = planned.map(|planned| planned.report(&plans.longest));
    let text = if arguments.json {
        let report = Report { plan: PlanReport::new(&plans.longest, &plans.others), calibration };
        let json = serde_json::to_string_pretty(&report);
        json.map_err(|error| Failure { message: error.to_string(), hint: None })? + "\n"
    } else {
        let plans = plans.iter().map(explained).collect::<Vec<_>>().join("\n");
        let calibration = calibration.map(|report| format!("\n{:<10} {}\n", "calibrate", report.text()));
        plans + &calibration.unwrap_or_default()
    };
    console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })
}

/// Prints what every layout costs.
fn compare_layouts(plan: &ConversionPlan, as_json: bool, console: Console) -> Result<(), Failure> {
    let failed = |message: String| Failure { message, hint: None };
    let rows = plan_layouts::rows(plan);
    let text = if as_json {
        serde_json::to_string_pretty(&rows).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        plan_layouts::table(&rows)
    };
    console.data(&text).map_err(|error| failed(error.to_string()))
}

/// The plan for people: packages, decisions, memory, and bounds of the speed.
pub fn explained(plan: &ConversionPlan) -> String {
    let mut text = summary(plan);
    if plan.options.target.is_neural_engine() {
        text.push_str(&bounds_table(plan, &Cost::of(plan)));
    }
    text
}

/// The plan for people without the bounds: packages, decisions and memory.
pub fn summary(plan: &ConversionPlan) -> String {
    let mut text = table(plan);
    text.push('\n');
    for decision in &plan.decisions {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<10} {}", decision.topic.name(), decision.text);
    }
    let cost = Cost::of(plan);
    let _ = writeln!(
        text,
        "{:<10} weights {}, KV cache {}; {} with every function loaded",
        "memory",
        ByteSize(cost.memory.weights),
        ByteSize(cost.memory.state),
        ByteSize(cost.memory.loaded)
    );
    let whole = if cost.memory.state == cost.memory.whole_state {
        String::new()
    } else {
        format!(", {} with the whole context of every layer", ByteSize(cost.memory.whole_state))
    };
    let _ = writeln!(
        text,
        "{:<10} {} of weights and {} of KV cache{whole}",
        "per token",
        ByteSize(cost.weight_bytes_per_token),
        ByteSize(cost.cache_bytes_per_token)
    );
    for hint in estimate::first_load_hints(plan) {
        let _ = writeln!(text, "{:<10} {hint}", "loading");
    }
    text
}

/// Upper bounds of the speed on the chips that the plan is for.
fn bounds_table(plan: &ConversionPlan, cost: &Cost) -> String {
    let mut text = format!("\n{:<8}  {:>6}  {:>11}  {:>12}  bounded by\n", "chip", "GB/s", "decode t/s", "prompt t/s");
    for bounds in estimate::chips(&plan.options).into_iter().filter_map(|chip| cost.bounds(chip)) {
        let _ = writeln!(text, "{}", bounds_line(&bounds));
    }
    text.push_str("Upper bounds; devices reach less.\n");
    text
}

fn bounds_line(bounds: &Bounds) -> String {
    let measured = if bounds.chip.weight_bandwidth.is_some() { "measured weight reads" } else { "the memory's rate" };
    let prompt = if bounds.prefill_is_compute_bound { "; prompt: arithmetic" } else { "" };
    format!(
        "{:<8}  {:>6.1}  {:>11.1}  {:>12.0}  {measured}{prompt}",
        bounds.chip.name, bounds.bandwidth.value, bounds.decode, bounds.prefill
    )
}

/// The packages as a table for people.
pub(crate) fn table(plan: &ConversionPlan) -> String {
    let width = plan.files.iter().map(|file| file.stem.len()).max().unwrap_or(0).max("package".len());
    let mut text =
        format!("{:<width$}  {:<15}  {:>7}  {:>6}  {:>10}\n", "package", "functions", "layers", "ops", "weights");
    for file in &plan.files {
        let layers = &file.label.layers;
        let layers = if layers.is_empty() { "-".to_owned() } else { format!("{}-{}", layers.start, layers.end - 1) };
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
