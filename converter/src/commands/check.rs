//! `anec check`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_mil::rules::{Chip, Conditions};
use anec_runtime::backend::{ReferenceBackend, ReferenceOptions};
use anec_runtime::session::{Output, Session};
use anec_runtime::{DirectoryError, ModelDirectory, verify};

use anec_schemas::meta::META_YAML;
use anec_schemas::report::REPORT_JSON;
use clap::Args;
use fs_err as fs;
use serde::Serialize;

use super::lint::{self, LintError};
use super::target_system::TargetSystem;
use super::verification::Verification;
use crate::console::{Console, Failure, counted};
use crate::error::render;
use crate::output::checksums;
use crate::output::staging::BESIDE;

/// Arguments of `anec check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec check out                    # the one command before a directory is shipped
  anec check out --chip m4 --json   # in a workflow

Checks the checksums of all files, the contract of the layout, that both forms of every model are the same, the rules of
`anec lint`, and that the reference engine gives finite logits. It does not compare with the checkpoint: `anec verify` does,
and `anec check` says whether it did. The exit code is 1 if a check fails.")]
pub struct Arguments {
    /// A converted directory, or one that holds those of several context lengths.
    path: PathBuf,

    /// The chip it must run on, such as a17-pro or m4; generic is all of them.
    #[arg(long, default_value_t = Chip::Generic)]
    chip: Chip,

    /// The system it must run on: the oldest, such as ios18 or macos15, or ios or macos for every version; all of them where
    /// not given.
    #[arg(long, value_name = "SYSTEM")]
    target: Option<TargetSystem>,

    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Tokens that the engine is given: enough that one call reads what another wrote.
const TOKENS: [u32; 2] = [0, 1];

/// Paths that are listed of those that differ.
const LISTED: usize = 5;

/// What was looked at in one directory.
#[derive(Debug, Serialize)]
struct Checked {
    path: PathBuf,
    checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    detail: String,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Passed,
    /// It holds, and there is something to know.
    Noted,
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Noted => "note",
            Self::Failed => "FAILED",
        }
    }
}

/// Checks a converted directory.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let target = arguments.target.map(|target| target.0);
    let os = target.and_then(|(_, version)| version);
    let conditions = Conditions { chip: arguments.chip, target: target.map(|(system, _)| system), os };
    let directories = converted_directories(&arguments.path)?;
    let checked: Vec<Checked> = directories
        .into_iter()
        .map(|path| {
            let checks = checks(&path, &conditions, console)?;
            Ok(Checked { path, checks })
        })
        .collect::<Result<_, Failure>>()?;
    let failed = |message: String| Failure { message, hint: None };
    let output = if arguments.json {
        serde_json::to_string_pretty(&checked).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        checked.iter().map(table).collect::<Vec<_>>().join("\n")
    };
    console.data(&output).map_err(|error| failed(error.to_string()))?;
    let checks = checked.iter().flat_map(|checked| &checked.checks);
    let failures = checks.filter(|check| check.outcome == Outcome::Failed).count();
    if failures > 0 {
        return Err(failed(format!("{} failed", counted(failures, "check"))));
    }
    Ok(())
}

/// The directory itself, or those of several context lengths in it.
pub(super) fn converted_directories(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_converted = |path: &Path| fs::metadata(path.join(META_YAML)).is_ok();
    if !is_converted(path)
        && let Ok(entries) = fs::read_dir(path)
    {
        let mut found: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_converted(path)).collect();
        found.sort_unstable();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    // What is missing is told as every command tells it.
    ModelDirectory::open(path).map_err(|error: DirectoryError| Failure::from(error))?;
    Ok(vec![path.to_owned()])
}

fn checks(path: &Path, conditions: &Conditions, console: Console) -> Result<Vec<Check>, Failure> {
    let mut checks = vec![checksums(path)];
    match ModelDirectory::open(path) {
        Err(error) => checks.push(failed("contract", render(&error))),
        Ok(directory) => {
            let options = ReferenceOptions::default();
            match directory.session(&ReferenceBackend::new(options)) {
                Err(error) => checks.push(failed("contract", render(&error))),
                Ok(mut session) => {
                    let name = directory.contract().name;
                    let models = counted(directory.parts().len(), "model");
                    checks.push(passed("contract", format!("`{name}`, {models}")));
                    checks.push(engine(&mut *session));
                }
            }
            checks.push(forms(&directory));
        }
    }
    checks.push(rules(path, conditions, console)?);
    checks.push(verified(path));
    Ok(checks)
}

fn checksums(path: &Path) -> Check {
    let name = "checksums";
    match checksums::changes(path) {
        Err(error) => failed(name, error.to_string()),
        Ok(changes) => {
            let kinds = [("changed", &changes.changed), ("missing", &changes.missing)];
            let wrong: Vec<String> =
                kinds.iter().filter(|(_, paths)| !paths.is_empty()).map(|(kind, paths)| list(kind, paths)).collect();
            if !wrong.is_empty() {
                return failed(name, wrong.join("; "));
            }
            let unlisted: Vec<String> =
                changes.unlisted.into_iter().filter(|path| !BESIDE.contains(&path.as_str())).collect();
            let files = counted(changes.listed, "file");
            if unlisted.is_empty() {
                passed(name, files)
            } else {
                Check { name, outcome: Outcome::Noted, detail: format!("{files}; {}", list("not listed", &unlisted)) }
            }
        }
    }
}

/// How many paths of a kind there are, and the first of them.
fn list(kind: &str, paths: &[String]) -> String {
    let shown: Vec<String> = paths.iter().take(LISTED).map(|path| format!("`{path}`")).collect();
    let more = if paths.len() > LISTED { " and more" } else { "" };
    format!("{} {kind}: {}{more}", paths.len(), shown.join(", "))
}

/// Whether what a few tokens give is finite.
fn engine(session: &mut dyn Session) -> Check {
    let name = "engine";
    match session.feed(&TOKENS, 0) {
        Err(error) => failed(name, render(&error)),
        Ok(Some(Output::Logits(logits))) if logits.iter().any(|logit| !logit.is_finite()) => {
            failed(name, "logits are not finite".to_owned())
        }
        Ok(_) => passed(name, format!("{} through the reference engine", counted(TOKENS.len(), "token"))),
    }
}

/// Whether both forms of every model are the same.
fn forms(directory: &ModelDirectory) -> Check {
    let name = "forms";
    let sizes = match verify::part_sizes(directory) {
        Ok(sizes) => sizes,
        Err(error) => return failed(name, render(&error)),
    };
    let first = |part: &anec_schemas::report::PartSize| {
        Some(format!("`{}`: {}", part.part, part.differences.as_ref()?.first()?))
    };
    let differing: Vec<String> = sizes.iter().filter_map(first).collect();
    let compared = sizes.iter().filter(|part| part.differences.is_some()).count();
    match differing.as_slice() {
        [] if compared == 0 => passed(name, "one form of each model".to_owned()),
        [] => passed(name, format!("{} the same in both forms", counted(compared, "model"))),
        _ => failed(name, differing.join("; ")),
    }
}

/// What the linter finds.
fn rules(path: &Path, conditions: &Conditions, console: Console) -> Result<Check, LintError> {
    let name = "lint";
    let report = lint::report(&[path.to_owned()], conditions, &[], console)?;
    let counts = [(report.errors, "error"), (report.warnings, "warning"), (report.notes, "note")];
    let found: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, noun)| counted(*count, noun)).collect();
    let outcome = match (report.errors, report.warnings) {
        (0, 0) => Outcome::Passed,
        (0, _) => Outcome::Noted,
        _ => Outcome::Failed,
    };
    let detail = if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") };
    Ok(Check { name, outcome, detail })
}

/// Whether a report of `anec verify` is there, and what it says.
fn verified(path: &Path) -> Check {
    let name = "verified";
    match Verification::of(path) {
        Verification::Missing => Check {
            name,
            outcome: Outcome::Noted,
            detail: format!("no {REPORT_JSON}: `anec verify --report` compares with the checkpoint"),
        },
        Verification::Outdated(_) => Check {
            name,
            outcome: Outcome::Noted,
            detail: format!("files were changed after the verification in {REPORT_JSON}"),
        },
        Verification::Passed(report) => passed(
            name,
            format!(
                "all {} passed, divergence {:.4} nats",
                counted(report.checks.len(), "check"),
                report.decode.kl_mean
            ),
        ),
        Verification::Failed(report) => {
            let wrong = report.checks.iter().filter(|check| !check.passed).map(|check| format!("`{}`", check.name));
            failed(name, format!("did not pass: {}", wrong.collect::<Vec<_>>().join(", ")))
        }
    }
}

fn passed(name: &'static str, detail: String) -> Check {
    Check { name, outcome: Outcome::Passed, detail }
}

fn failed(name: &'static str, detail: String) -> Check {
    Check { name, outcome: Outcome::Failed, detail }
}

fn table(checked: &Checked) -> String {
    let mut text = format!("{}\n", checked.path.display());
    for Check { name, outcome, detail } in &checked.checks {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<7} {name:<10} {detail}", outcome.word());
    }
    text
}
