//! `anec lint`.

mod github;
mod open;
mod report;
mod sarif;
mod text;

use std::path::PathBuf;

use anec_mil::rules::{self, Chip, Conditions, OsVersion, Rule, Subject};
use clap::{Args, ValueEnum};

pub use self::open::LintError;
pub(super) use self::report::LintReport;
use self::report::ProgramReport;
use super::target_system::TargetSystem;
use crate::console::{Console, Failure, counted};

/// Arguments of `anec lint`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec lint out                                      # every program of a converted directory
  anec lint Model.mlmodelc --chip m4 --target macos26   # of whoever made it
  anec lint out --deny warnings --format github      # in a workflow

Exits with 1 if there are errors. `anec rules` explains each rule.")]
pub struct Arguments {
    /// A .mlpackage, a .mlmodelc, a .mil text, or a directory that holds some.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The chip it must run on, such as a17-pro or m4; generic is all of them.
    #[arg(long, default_value_t = Chip::Generic)]
    chip: Chip,

    /// The system it must run on: the oldest, such as ios18, macos15 or macos26, or ios or macos for every version; all of
    /// them where not given.
    #[arg(long, value_name = "SYSTEM")]
    target: Option<TargetSystem>,

    /// What `--target` was called for versions.
    #[arg(long, hide = true)]
    os: Option<OsVersion>,

    /// Print as JSON, as `--format json` does.
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// What fails besides errors.
    #[arg(long, value_enum)]
    deny: Option<Deny>,

    /// Leave out what this rule finds; can be given several times.
    #[arg(long, value_name = "RULE", value_parser = super::rules::rule)]
    allow: Vec<&'static Rule>,

    /// Show every finding of a rule, not the first five.
    #[arg(long)]
    all: bool,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands of GitHub.
    Github,
}

/// What fails besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Deny {
    /// Warnings.
    Warnings,
    /// Warnings and notes.
    Notes,
}

/// Lints what is at the paths.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let report = report(&arguments.paths, &conditions(arguments)?, &arguments.allow, console)?;
    let failed = |message: String| Failure { message, hint: None };
    let json = |value: Result<String, serde_json::Error>| match value {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(failed(error.to_string())),
    };
    let format = if arguments.json { Format::Json } else { arguments.format };
    let output = match format {
        Format::Text => text::write(&report, arguments.all),
        Format::Json => json(serde_json::to_string_pretty(&report))?,
        Format::Sarif => json(serde_json::to_string_pretty(&sarif::write(&report)))?,
        Format::Github => github::write(&report),
    };
    console.data(&output).map_err(|error| failed(error.to_string()))?;
    let denied = report.errors
        + match arguments.deny {
            None => 0,
            Some(Deny::Warnings) => report.warnings,
            Some(Deny::Notes) => report.warnings + report.notes,
        };
    if denied > 0 {
        return Err(failed(format!("{} not allowed", counted(denied, "finding"))));
    }
    Ok(())
}

/// What is found in all programs at the paths.
///
/// # Errors
/// A path holds no program, or one that cannot be read.
pub(super) fn report(
    paths: &[PathBuf],
    conditions: &Conditions,
    allowed: &[&'static Rule],
    console: Console,
) -> Result<LintReport, LintError> {
    let mut programs = Vec::new();
    for path in paths {
        for path in open::find(path)? {
            programs.push(lint(&path, conditions, allowed, console)?);
        }
    }
    Ok(LintReport::new(conditions, programs))
}

fn conditions(arguments: &Arguments) -> Result<Conditions, Failure> {
    let target = arguments.target.map(|target| target.0);
    if let (Some((system, version)), Some(os)) = (target, arguments.os)
        && (os.system != system || version.is_some_and(|version| version != os))
    {
        let target = version.map_or_else(|| system.to_string(), |version| version.to_string());
        let message = format!("`--os` is {os}, but `--target` is {target}");
        return Err(Failure { message, hint: Some("`--target` alone says both".to_owned()) });
    }
    let os = arguments.os.or(target.and_then(|(_, version)| version));
    Ok(Conditions { chip: arguments.chip, target: target.map(|(system, _)| system), os })
}

fn lint(
    path: &std::path::Path,
    conditions: &Conditions,
    allowed: &[&'static Rule],
    console: Console,
) -> Result<ProgramReport, LintError> {
    let opened = open::open(path)?;
    for note in &opened.notes {
        console.status(&format!("note: {}: {note}", path.display()));
    }
    for name in opened.weights.unreadable(&opened.program) {
        console.warning(&format!(
            "{}: the weight file `{name}` cannot be read, so its constants are not looked into; without it the model does \
             not load",
            path.display()
        ));
    }
    let subject = Subject {
        program: &opened.program,
        description: opened.description.as_ref(),
        weight_file_bytes: opened.weights.total_bytes(),
        constants: Some(&opened.weights),
    };
    let mut findings = rules::lint(subject, conditions);
    findings.retain(|finding| !allowed.iter().any(|rule| rule.id == finding.rule.id));
    // The worst first; within a severity, in program order.
    findings.sort_by_key(|finding| finding.severity);
    Ok(ProgramReport::new(&opened.path, findings))
}
