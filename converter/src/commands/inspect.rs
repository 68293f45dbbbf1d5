//! `anec inspect`.

mod checkpoint;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_mil::text::{self, TextVersion};
use anec_runtime::{DirectoryError, MemberPath, ModelDirectory, OpenError, PackageReport, PartError, pipeline_members};
use anec_schemas::meta::META_YAML;
use clap::Args;
use fs_err as fs;

use super::model_files;
use crate::console::{Console, Failure, counted};
use crate::error::Hint;
use crate::options::ByteSize;

/// Arguments of `anec inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec inspect out                                # every package of a converted directory
  anec inspect out/lm_head_lut6.mlpackage --json
  anec inspect Model.mlpackage --mil | less       # the program as text
  anec inspect Pipeline.mlpackage/model0          # a member of a pipeline
  anec inspect ./Qwen3-0.6B                       # a checkpoint, or a .gguf: what it is, and what would stop a conversion")]
pub struct Arguments {
    /// A .mlpackage, .mlmodelc or .mlmodel, a member of a pipeline, a converted directory, or a checkpoint.
    path: PathBuf,

    /// Print the program in Core ML's text form.
    #[arg(long, conflicts_with = "json")]
    mil: bool,

    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Hint for OpenError {
    fn hint(&self) -> Option<String> {
        let known = match self {
            Self::Model { source, .. } => source.hint(),
            Self::Io { .. } => None,
        };
        Some(known.unwrap_or("expected a .mlpackage, a .mlmodelc or a .mlmodel").to_owned())
    }
}

impl Hint for PartError {
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Hint for DirectoryError {
    fn hint(&self) -> Option<String> {
        Some(
            "expected a directory that `anec convert` wrote; of several context lengths, give one, such as out/context_512"
                .to_owned(),
        )
    }
}

/// Describes what is at the path.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    if let Some(outcome) = inspect_checkpoint(arguments, console) {
        return outcome;
    }
    let paths = models(&arguments.path)?;
    let reports: Vec<PackageReport> =
        paths.iter().map(|path| Ok(PackageReport::open(path)?)).collect::<Result<_, Failure>>()?;
    let failed = |message: String| Failure { message, hint: None };
    let output = if arguments.json {
        serde_json::to_string_pretty(&reports).map_err(|error| failed(error.to_string()))? + "\n"
    } else if arguments.mil {
        let programs: Result<Vec<String>, _> = reports.iter().map(program_text).collect();
        programs.map_err(|error| failed(error.to_string()))?.concat()
    } else {
        let head = members(&arguments.path)?.map(|members| describe_pipeline(&members));
        head.into_iter().chain(reports.iter().map(describe)).collect::<Vec<_>>().join("\n")
    };
    console.data(&output).map_err(|error| failed(error.to_string()))?;
    let problems: usize = reports.iter().map(|report| report.problems.len()).sum();
    if problems > 0 {
        return Err(failed(format!("{} found", counted(problems, "problem"))));
    }
    Ok(())
}

/// Describes a checkpoint; none where the path is something else.
fn inspect_checkpoint(arguments: &Arguments, console: Console) -> Option<Result<(), Failure>> {
    let path = &arguments.path;
    let holds_models =
        || fs::metadata(path.join(META_YAML)).is_ok() || model_files::find(path).is_ok_and(|found| !found.is_empty());
    if !checkpoint::is_checkpoint(path) || (path.is_dir() && holds_models()) {
        return None;
    }
    if arguments.mil {
        let message = format!("Cannot print the program of `{}`: it is a checkpoint, which has none", path.display());
        return Some(Err(Failure { message, hint: Some("`anec convert` makes programs of it".to_owned()) }));
    }
    Some(print_checkpoint(arguments, console))
}

fn print_checkpoint(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let failed = |message: String| Failure { message, hint: None };
    let report = checkpoint::report(&arguments.path)?;
    let output = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        checkpoint::describe(&report)
    };
    console.data(&output).map_err(|error| failed(error.to_string()))?;
    match report.problems.len() {
        0 => Ok(()),
        count => Err(failed(format!("{} found", counted(count, "problem")))),
    }
}

/// The models of a converted directory in the order of their calls, or what else there is.
fn models(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_converted = fs::metadata(path.join(META_YAML)).is_ok();
    let found = if is_converted { Vec::new() } else { model_files::find(path).unwrap_or_default() };
    if !found.is_empty() {
        return Ok(found);
    }
    let directory = ModelDirectory::open(path)?;
    Ok(directory.parts().iter().filter_map(|part| part.any_path().map(Path::to_owned)).collect())
}

/// The members of a pipeline, where `path` is one.
fn members(path: &Path) -> Result<Option<Vec<MemberPath>>, Failure> {
    let is_model = model_files::is_model(path).unwrap_or(false) && fs::metadata(path.join(META_YAML)).is_err();
    if is_model { Ok(pipeline_members(path)?) } else { Ok(None) }
}

fn describe_pipeline(members: &[MemberPath]) -> String {
    let mut text = format!("pipeline of {}\n", counted(members.len(), "model"));
    for member in members {
        let name = member.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let _ = writeln!(text, "  {name}: {}", member.kind);
    }
    text
}

fn program_text(report: &PackageReport) -> Result<String, text::PrintError> {
    text::print(&report.program, TextVersion::for_specification_version(report.specification_version))
        .map(|text| text + "\n")
}

fn describe(report: &PackageReport) -> String {
    let mut text = String::new();
    let name = report
        .path
        .file_name()
        .map_or_else(|| report.path.display().to_string(), |name| name.to_string_lossy().into_owned());
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{name}: {}, specification {}, {} of weights",
        report.form,
        report.specification_version,
        ByteSize(report.weight_bytes)
    );
    for (name, function) in &report.functions {
        let default = if report.default_function.as_ref() == Some(name) { ", default" } else { "" };
        let _ = writeln!(text, "  function {name} ({}{default})", function.opset);
        for (kind, values) in [("input", &function.inputs), ("state", &function.states), ("output", &function.outputs)]
        {
            for (name, ty) in values {
                let described = function.described.get(name).map(|text| format!(", {text}")).unwrap_or_default();
                let _ = writeln!(text, "    {kind:<6}  {name}: {ty}{described}");
            }
        }
        let mut operations: Vec<_> = function.operations.iter().collect();
        operations.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let operations: Vec<String> = operations.iter().map(|(op, count)| format!("{count} {op}")).collect();
        let _ = writeln!(text, "    ops     {}", wrap(&operations));
    }
    for (encoding, weights) in &report.encodings {
        let _ = writeln!(
            text,
            "  {} weights as {encoding}: {} elements, {}",
            weights.weights,
            weights.elements,
            ByteSize(weights.bytes)
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    for problem in &report.problems {
        let _ = writeln!(text, "  problem: {problem}");
    }
    text
}

/// Words joined by commas, in lines of at most a hundred characters that continue under the first word.
fn wrap(words: &[String]) -> String {
    const WIDTH: usize = 88;
    const INDENT: &str = "\n            ";
    let mut text = String::new();
    let mut width = 0;
    for (position, word) in words.iter().enumerate() {
        if position > 0 {
            text.push(',');
            if width + word.len() > WIDTH {
                text.push_str(INDENT);
                width = 0;
            } else {
                text.push(' ');
            }
        }
        width += word.len() + 2;
        text.push_str(word);
    }
    text
}
