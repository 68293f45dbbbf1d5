//! `anec ops`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anec_mil::ops::decl::{Domain, Evidence, OpDecl, Parameter, Presence, Results};
use anec_mil::ops::{self, OPS, document};
use anec_mil::{DataType, Opset};
use clap::Args;
use serde::Serialize;

use crate::console::{Console, Failure};

/// Arguments of `anec ops`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  anec ops\n  anec ops conv topk\n  anec ops --json | jq '.[].name'")]
pub struct Arguments {
    /// Describe these ops.
    #[arg(value_name = "OP", value_parser = op)]
    ops: Vec<&'static OpDecl>,

    /// Print as JSON, with the parameters in every operation set.
    #[arg(long)]
    json: bool,
}

fn op(name: &str) -> Result<&'static OpDecl, String> {
    ops::find(name).ok_or_else(|| "no such op; `anec ops` prints all".to_owned())
}

/// An op as data.
#[derive(Serialize)]
struct OpReport {
    name: &'static str,
    summary: &'static str,
    /// The operation set that it came with.
    since: String,
    /// How many results it has; none where the operands say.
    results: Option<usize>,
    /// How many nested blocks it has.
    blocks: usize,
    /// What shows how Core ML writes it in compiled programs.
    evidence: Option<EvidenceReport>,
    /// Parameters by operation set.
    parameters: BTreeMap<String, Vec<ParameterReport>>,
}

/// Evidence as data.
#[derive(Serialize)]
struct EvidenceReport {
    kind: &'static str,
    place: &'static str,
}

/// A parameter in one operation set.
#[derive(Serialize)]
struct ParameterReport {
    name: &'static str,
    /// Element types; none where it takes all, a list or a state.
    types: Option<Vec<&'static str>>,
    /// `tensor`, `list`, `state`, or `any`.
    kind: &'static str,
    /// Parameters with the same letter have the same element type.
    group: Option<char>,
    constant: bool,
    required: bool,
    variadic: bool,
}

impl From<&OpDecl> for OpReport {
    fn from(decl: &OpDecl) -> Self {
        let sets = [Opset::Ios15, Opset::Ios16, Opset::Ios17, Opset::Ios18];
        let parameters = sets.into_iter().filter(|opset| *opset >= decl.since).map(|opset| {
            let existing = decl.parameters.iter().filter(|parameter| parameter.exists_in(opset));
            (opset.to_string(), existing.map(|parameter| ParameterReport::new(parameter, opset)).collect())
        });
        Self {
            name: decl.name,
            summary: decl.doc,
            since: decl.since.to_string(),
            results: match decl.results {
                Results::Exactly(count) => Some(count),
                Results::Several => None,
            },
            blocks: decl.blocks(),
            evidence: decl.evidence.parts().map(|(kind, place)| EvidenceReport { kind, place }),
            parameters: parameters.collect(),
        }
    }
}

impl ParameterReport {
    fn new(parameter: &Parameter, opset: Opset) -> Self {
        let (kind, types) = match parameter.domain_in(opset) {
            Domain::Any => ("tensor", None),
            Domain::OneOf(types) => ("tensor", Some(types.iter().map(|dtype: &DataType| dtype.text_name()).collect())),
            Domain::State => ("state", None),
            Domain::List => ("list", None),
            Domain::AnyOrList => ("any", None),
        };
        Self {
            name: parameter.name,
            types,
            kind,
            group: parameter.group_in(opset),
            constant: parameter.constant_in(opset),
            required: parameter.presence == Presence::Required,
            variadic: parameter.variadic,
        }
    }
}

/// Prints the ops.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let failed = |message: String| Failure { message, hint: None };
    let chosen = if arguments.ops.is_empty() { OPS } else { &arguments.ops };
    let output = if arguments.json {
        let rows: Vec<OpReport> = chosen.iter().map(|decl| OpReport::from(*decl)).collect();
        serde_json::to_string_pretty(&rows).map_err(|error| failed(error.to_string()))? + "\n"
    } else if arguments.ops.is_empty() {
        document::markdown()
    } else {
        chosen.iter().map(|decl| describe(decl)).collect::<Vec<_>>().join("\n")
    };
    console.data(&output).map_err(|error| failed(error.to_string()))
}

fn describe(decl: &OpDecl) -> String {
    let mut text = format!("{} (since {})\n  {}\n", decl.name, decl.since, decl.doc);
    for parameter in decl.parameters {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<24} {}", parameter.name, parameter_text(parameter));
    }
    let evidence = match decl.evidence {
        Evidence::None => "none; compiled with `--unproven` only".to_owned(),
        known => known.to_string(),
    };
    let _ = writeln!(text, "  compiled form: {evidence}");
    text
}

/// The parameter in the newest operation set, and when that changed it.
fn parameter_text(parameter: &Parameter) -> String {
    let report = ParameterReport::new(parameter, Opset::Ios18);
    let mut words = vec![match report.types {
        Some(types) => types.join(" | "),
        None => format!("any {}", if report.kind == "any" { "tensor or list" } else { report.kind }),
    }];
    words.extend(report.constant.then(|| "constant".to_owned()));
    words.extend(report.variadic.then(|| "one or more".to_owned()));
    words.extend((!report.required).then(|| "may be left out".to_owned()));
    let changed: Vec<String> = parameter.changes.iter().map(|change| change.opset().to_string()).collect();
    words.extend((!changed.is_empty()).then(|| format!("changed with {}", changed.join(", "))));
    words.join(", ")
}
