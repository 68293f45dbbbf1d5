//! `anec diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anec_mil::difference::{self, CompareError, Difference};
use anec_runtime::{ModelDirectory, open_model};
use anec_schemas::meta::META_JSON;
use clap::Args;
use serde::Serialize;

use super::check::converted_directories;
use crate::console::{Console, Failure, counted};
use crate::error::Hint;
use crate::output::checksums::{self, CHECKSUMS};
use crate::output::forms::FORMS;

/// Arguments of `anec diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec diff Model.mlpackage Model.mlmodelc        # is this compiled from that?
  anec diff old/lm_head_lut6.mlmodelc new/lm_head_lut6.mlmodelc --limit 100
  anec diff out-before out-after                  # two converted directories, model by model

Names of values inside a function, the order of constants and where weights are stored are no differences. Metadata is
not compared. Of directories, models of the same role are compared, whatever they are called, and all other files byte by
byte. The exit code is 1 if the two differ.")]
pub struct Arguments {
    /// A .mlpackage, .mlmodelc or .mlmodel, or a converted directory.
    left: PathBuf,

    /// Another.
    right: PathBuf,

    /// Differences to print at most, of every model.
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroUsize,

    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Hint for CompareError {}

/// A difference.
#[derive(Serialize)]
struct Found {
    /// The model or file of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    place: String,
    left: String,
    right: String,
}

/// What is compared, and what differs.
struct Comparison {
    what: &'static str,
    found: Vec<Found>,
    /// Whether a model may have more differences than were looked for.
    is_cut: bool,
}

/// Compares two models or directories.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let failed = |message: String| Failure { message, hint: None };
    let comparison = match (is_converted(&arguments.left), is_converted(&arguments.right)) {
        (false, false) => models(&arguments.left, &arguments.right, arguments.limit.get())?,
        (true, true) => directories(arguments)?,
        (is_left, _) => {
            let [directory, model] =
                if is_left { [&arguments.left, &arguments.right] } else { [&arguments.right, &arguments.left] };
            return Err(Failure {
                message: format!(
                    "Cannot compare `{}`, a converted directory, with `{}`",
                    directory.display(),
                    model.display()
                ),
                hint: Some("give two converted directories, or two models".to_owned()),
            });
        }
    };
    let Comparison { what, found, is_cut } = comparison;
    let text = if arguments.json {
        serde_json::to_string_pretty(&found).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        describe(&found)
    };
    console.data(&text).map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        console.status(&format!("The {what} are the same"));
        return Ok(());
    }
    let more = if is_cut { " or more" } else { "" };
    Err(failed(format!("The {what} differ in {}{more} places", found.len())))
}

/// Whether a path is a converted directory, or holds those of several contexts.
fn is_converted(path: &Path) -> bool {
    let is_model = FORMS.iter().any(|form| path.extension().is_some_and(|extension| extension == form.name()));
    !is_model && path.is_dir() && converted_directories(path).is_ok()
}

fn models(left: &Path, right: &Path, limit: usize) -> Result<Comparison, Failure> {
    let differences = difference::compare(&open_model(left)?, &open_model(right)?, limit)?;
    let is_cut = differences.len() == limit;
    Ok(Comparison {
        what: "models",
        found: differences.into_iter().map(|found| of_model(None, found)).collect(),
        is_cut,
    })
}

fn of_model(within: Option<String>, difference: Difference) -> Found {
    let Difference { place, left, right, .. } = difference;
    Found { within, place, left, right }
}

fn directories(arguments: &Arguments) -> Result<Comparison, Failure> {
    let mut comparison = Comparison { what: "directories", found: Vec::new(), is_cut: false };
    let [left, right] = [by_name(&arguments.left)?, by_name(&arguments.right)?];
    for name in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        match (left.get(name), right.get(name)) {
            (Some(left), Some(right)) => directory(name, left, right, arguments.limit.get(), &mut comparison)?,
            (left, _) => comparison.found.push(presence(name.clone(), left.is_some())),
        }
    }
    Ok(comparison)
}

/// The converted directories of a path by their names in it; one that is a directory itself has none.
fn by_name(path: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let name = |directory: &Path| {
        directory.strip_prefix(path).map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
    };
    Ok(converted_directories(path)?.into_iter().map(|directory| (name(&directory), directory)).collect())
}

/// What one side has and the other has not.
fn presence(within: String, is_left: bool) -> Found {
    let word = |is_there: bool| if is_there { "is there" } else { "is not there" }.to_owned();
    Found { within: Some(within), place: "the file".to_owned(), left: word(is_left), right: word(!is_left) }
}

/// Compares two converted directories: models by what they are for, other files by their bytes.
fn directory(name: &str, left: &Path, right: &Path, limit: usize, comparison: &mut Comparison) -> Result<(), Failure> {
    let within = |what: &str| if name.is_empty() { what.to_owned() } else { format!("{name}/{what}") };
    let [a, b] = [ModelDirectory::open(left)?, ModelDirectory::open(right)?];
    let parts = |directory: &ModelDirectory| -> BTreeMap<_, PathBuf> {
        let found = directory.parts().iter().filter_map(|part| Some((part.label, part.any_path()?.to_owned())));
        found.collect()
    };
    let [a, b] = [parts(&a), parts(&b)];
    for label in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
        match (a.get(label), b.get(label)) {
            (Some(a), Some(b)) => {
                let found = models(a, b, limit)?;
                comparison.is_cut |= found.is_cut;
                let of_label = |found: Found| Found { within: Some(within(&label.to_string())), ..found };
                comparison.found.extend(found.found.into_iter().map(of_label));
            }
            (a, _) => comparison.found.push(presence(within(&label.to_string()), a.is_some())),
        }
    }
    let [a, b] = [beside(left)?, beside(right)?];
    for path in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
        match (a.get(path), b.get(path)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                let place = "SHA-256".to_owned();
                comparison.found.push(Found { within: Some(within(path)), place, left: a.clone(), right: b.clone() });
            }
            (a, _) => comparison.found.push(presence(within(path), a.is_some())),
        }
    }
    Ok(())
}

/// The checksums of what is not in a model. Both meta files say the same, and the list of checksums says nothing new.
fn beside(directory: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let failed = |error: std::io::Error| Failure { message: error.to_string(), hint: None };
    let is_in_model = |path: &str| {
        let top = Path::new(path.split('/').next().unwrap_or_default());
        FORMS.iter().any(|form| top.extension().is_some_and(|extension| extension == form.name()))
    };
    let paths = checksums::files_below(directory).map_err(failed)?;
    let paths = paths.into_iter().filter(|path| !is_in_model(path) && ![CHECKSUMS, META_JSON].contains(&path.as_str()));
    paths.map(|path| Ok((path.clone(), checksums::checksum(&directory.join(&path)).map_err(failed)?))).collect()
}

fn describe(found: &[Found]) -> String {
    let mut text = String::new();
    let mut last = None;
    for Found { within, place, left, right } in found {
        if *within != last {
            // Writing to a string cannot fail.
            let count = found.iter().filter(|other| other.within == *within).count();
            let _ = writeln!(text, "{}: {}", within.as_deref().unwrap_or_default(), counted(count, "difference"));
            last.clone_from(within);
        }
        let _ = writeln!(text, "{place}\n  - {left}\n  + {right}");
    }
    text
}
