//! `anec layouts`.

mod document;

use std::fmt::Write as _;

use anec_schemas::contract::{Call, Contract, Count, FileContract, FunctionContract, TensorContract, When};
use clap::Args;
use serde::Serialize;

use crate::console::{Console, Failure};
use crate::graph::families::FAMILIES;
use crate::output::layouts::{self, LAYOUTS, Layout};

/// Arguments of `anec layouts`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anec layouts\n  anec layouts anemll\n  anec layouts anec --json | jq '.contract.files[].role'"
)]
pub struct Arguments {
    /// Print what the client of this layout relies on: files, functions, tensors, and the order of calls.
    #[arg(value_name = "NAME", value_parser = known_name)]
    name: Option<&'static str>,

    /// Print as JSON.
    #[arg(long)]
    json: bool,

    /// Print the layout as a document with a client in Swift.
    #[arg(long, requires = "name", conflicts_with = "json")]
    markdown: bool,
}

fn known_name(name: &str) -> Result<&'static str, String> {
    let found = layouts::find(name).map(Layout::name);
    found.ok_or_else(|| "no such layout; `anec layouts` prints all".to_owned())
}

/// Prints all layouts, or the contract of one.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let chosen = arguments.name.and_then(layouts::find);
    let json = match (arguments.json, chosen) {
        (false, _) => None,
        (true, None) => Some(serde_json::to_string_pretty(&LAYOUTS.iter().map(|row| row_of(*row)).collect::<Vec<_>>())),
        (true, Some(layout)) => {
            let report = LayoutReport { row: row_of(layout), contract: layout.family().contract().into() };
            Some(serde_json::to_string_pretty(&report))
        }
    };
    let failed = |message: String| Failure { message, hint: None };
    let text = match (json, chosen) {
        (Some(json), _) => json.map_err(|error| failed(error.to_string()))? + "\n",
        (None, None) => table(),
        (None, Some(layout)) if arguments.markdown => document::markdown(layout),
        (None, Some(layout)) => describe(layout),
    };
    console.data(&text).map_err(|error| failed(error.to_string()))
}

/// A row of the table as data.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    summary: &'static str,
    family: &'static str,
    contract: &'static str,
    forms: &'static [&'static str],
}

fn row_of(layout: &dyn Layout) -> Row {
    Row {
        name: layout.name(),
        summary: layout.summary(),
        family: layout.family().name(),
        contract: layout.family().contract().name,
        forms: layout.forms(),
    }
}

/// A layout as data.
#[derive(Serialize)]
struct LayoutReport {
    #[serde(flatten)]
    row: Row,
    contract: ContractReport,
}

#[derive(Serialize)]
struct ContractReport {
    name: &'static str,
    summary: &'static str,
    source: &'static str,
    variants: Vec<VariantReport>,
    files: Vec<FileReport>,
    calls: Vec<CallReport>,
    rules: &'static [&'static str],
    systems: &'static str,
    memory: &'static str,
    swift: &'static str,
}

#[derive(Serialize)]
struct VariantReport {
    name: &'static str,
    meaning: &'static str,
}

#[derive(Serialize)]
struct FileReport {
    role: &'static str,
    meaning: &'static str,
    count: &'static str,
    functions: Vec<FunctionReport>,
}

#[derive(Serialize)]
struct FunctionReport {
    name: &'static str,
    when: String,
    meaning: &'static str,
    inputs: Vec<TensorReport>,
    states: Vec<TensorReport>,
    outputs: Vec<TensorReport>,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    dtype: &'static str,
    shape: Vec<String>,
    when: String,
    meaning: &'static str,
}

#[derive(Serialize)]
struct CallReport {
    phase: &'static str,
    role: &'static str,
    function: &'static str,
    when: String,
    feeds: &'static str,
}

impl From<&Contract> for ContractReport {
    fn from(contract: &Contract) -> Self {
        let variants = contract.variants.iter();
        Self {
            name: contract.name,
            summary: contract.summary,
            source: contract.source,
            variants: variants.map(|row| VariantReport { name: row.name, meaning: row.meaning }).collect(),
            files: contract.files.iter().map(FileReport::from).collect(),
            calls: contract.calls.iter().map(CallReport::from).collect(),
            rules: contract.rules,
            systems: contract.systems,
            memory: contract.memory,
            swift: contract.swift,
        }
    }
}

impl From<&FileContract> for FileReport {
    fn from(file: &FileContract) -> Self {
        let functions = file.functions.iter().map(FunctionReport::from).collect();
        Self { role: file.role.0, meaning: file.meaning, count: count(file.count), functions }
    }
}

impl From<&FunctionContract> for FunctionReport {
    fn from(function: &FunctionContract) -> Self {
        let tensors = |tensors: &[TensorContract]| tensors.iter().map(TensorReport::from).collect();
        Self {
            name: function.name,
            when: function.when.to_string(),
            meaning: function.meaning,
            inputs: tensors(function.inputs),
            states: tensors(function.states),
            outputs: tensors(function.outputs),
        }
    }
}

impl From<&TensorContract> for TensorReport {
    fn from(tensor: &TensorContract) -> Self {
        Self {
            name: tensor.name.to_string(),
            dtype: tensor.dtype.name(),
            shape: tensor.shape.iter().map(ToString::to_string).collect(),
            when: tensor.when.to_string(),
            meaning: tensor.meaning,
        }
    }
}

impl From<&Call> for CallReport {
    fn from(call: &Call) -> Self {
        Self {
            phase: call.phase.name(),
            role: call.role.0,
            function: call.function,
            when: call.when.to_string(),
            feeds: call.feeds,
        }
    }
}

fn count(count: Count) -> &'static str {
    match count {
        Count::One => "one",
        Count::Many => "one or more",
    }
}

/// All layouts and families, a line each.
fn table() -> String {
    let mut text = format!("{:<17}  {:<14}  {:<20}  {}\n", "layout", "family", "forms", "opened by");
    for layout in LAYOUTS {
        let forms = layout.forms().join(", ");
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{:<17}  {:<14}  {forms:<20}  {}", layout.name(), layout.family().name(), layout.summary());
    }
    let _ = writeln!(text, "\n{:<14}  {:<14}  programs", "family", "contract");
    for family in FAMILIES {
        let contract = family.contract();
        let _ = writeln!(text, "{:<14}  {:<14}  {}", family.name(), contract.name, contract.summary);
    }
    text
}

/// One layout with its contract.
fn describe(layout: &dyn Layout) -> String {
    let contract = layout.family().contract();
    let mut text = format!(
        "{}: {}\n\nfamily    {}\nforms     {}\ncontract  {}: {}\nsource    {}\n",
        layout.name(),
        layout.summary(),
        layout.family().name(),
        layout.forms().join(", "),
        contract.name,
        contract.summary,
        contract.source
    );
    for file in contract.files {
        let _ = writeln!(text, "\n{} ({}): {}", file.role, count(file.count), file.meaning);
        for function in file.functions {
            let _ = writeln!(text, "  {}{}: {}", function.name, condition(function.when), function.meaning);
            for (kind, tensors) in [("in", function.inputs), ("state", function.states), ("out", function.outputs)] {
                for tensor in tensors {
                    let _ = writeln!(text, "    {kind:<5}  {}", tensor_line(tensor));
                }
            }
        }
    }
    text.push_str("\ncalls, once for each file of the role\n");
    for call in contract.calls {
        let (phase, role, when) = (call.phase.name(), call.role.0, condition(call.when));
        let _ = writeln!(text, "  {phase:<6}  {role:<15}  {:<8}  {}{when}", call.function, call.feeds);
    }
    let _ = writeln!(text, "\nsystems   {}\nmemory    {}", contract.systems, contract.memory);
    text.push_str("\nvariants\n");
    for variant in contract.variants {
        let _ = writeln!(text, "  {:<10}  {}", variant.name, variant.meaning);
    }
    text.push_str("\nrules\n");
    for rule in contract.rules {
        let _ = writeln!(text, "  {rule}");
    }
    text
}

fn tensor_line(tensor: &TensorContract) -> String {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    let name = tensor.name.to_string();
    format!("{name:<28}  {:<5}  [{}]{}", tensor.dtype, shape.join(", "), condition(tensor.when))
}

/// When something is there, in brackets, where it is not always.
fn condition(when: When) -> String {
    match when {
        When::Always => String::new(),
        when => format!(" ({when})"),
    }
}

/// Name and document of every layout.
pub fn documents() -> impl Iterator<Item = (&'static str, String)> {
    LAYOUTS.iter().map(|layout| (layout.name(), document::markdown(*layout)))
}
