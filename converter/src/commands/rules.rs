//! `anec rules`.

use std::fmt::Write as _;

use anec_mil::rules::{self, RULES, Rule, document};
use clap::Args;
use serde::Serialize;

use crate::console::{Console, Failure};

/// Arguments of `anec rules`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  anec rules\n  anec rules kv-copy weight-notch\n  anec rules --json | jq '.[].id'")]
pub struct Arguments {
    /// Only these rules.
    #[arg(value_name = "RULE", value_parser = rule)]
    rules: Vec<&'static Rule>,

    /// Print as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,

    /// Print the page of the documentation, with the chips.
    #[arg(long, conflicts_with = "rules")]
    markdown: bool,
}

/// The rule of this name.
pub(super) fn rule(id: &str) -> Result<&'static Rule, String> {
    rules::find(id).ok_or_else(|| "no such rule; `anec rules` prints all".to_owned())
}

/// A rule as data.
#[derive(Serialize)]
struct RuleReport {
    id: &'static str,
    severity: String,
    summary: &'static str,
    scope: String,
    source: &'static str,
    conflict: Option<&'static str>,
    fix: &'static str,
}

impl From<&Rule> for RuleReport {
    fn from(rule: &Rule) -> Self {
        Self {
            id: rule.id,
            severity: rule.severity.to_string(),
            summary: rule.summary,
            scope: rule.scope.to_string(),
            source: rule.source,
            conflict: rule.conflict,
            fix: rule.fix,
        }
    }
}

/// Prints the rules.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let chosen = if arguments.rules.is_empty() { RULES } else { &arguments.rules };
    let failed = |message: String| Failure { message, hint: None };
    let output = if arguments.markdown {
        document::markdown()
    } else if arguments.json {
        let rows: Vec<RuleReport> = chosen.iter().map(|rule| RuleReport::from(*rule)).collect();
        serde_json::to_string_pretty(&rows).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        chosen.iter().map(|rule| describe(rule)).collect::<Vec<_>>().join("\n")
    };
    console.data(&output).map_err(|error| failed(error.to_string()))
}

fn describe(rule: &Rule) -> String {
    let mut text = format!("{} ({})\n  {}.\n", rule.id, rule.severity, rule.summary);
    let scope = rule.scope.to_string();
    let rows = [("where", Some(scope.as_str())), ("source", Some(rule.source)), ("conflict", rule.conflict)];
    for (name, row) in rows.into_iter().chain([("fix", Some(rule.fix))]) {
        if let Some(row) = row {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<8} {row}");
        }
    }
    text
}
