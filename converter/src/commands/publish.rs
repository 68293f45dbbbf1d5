//! `anec publish`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_schemas::report::{REPORT_HTML, REPORT_JSON};
use clap::Args;
use fs_err as fs;
use serde::Serialize;

use super::card::{self, Facts};
use super::check::converted_directories;
use super::locate::transfer_progress;
use super::verification::Verification;
use crate::console::{Console, Failure, counted};
use crate::options::ByteSize;
use crate::output::archive;
use crate::output::checksums::{self, CHECKSUMS};
use crate::source::hub::{self, LocalFile, ModelName, Publication, Published};

/// Arguments of `anec publish`.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec publish out --repo acme/Qwen2.5-0.5B-ane --dry-run
  anec publish out --repo acme/Qwen2.5-0.5B-ane --private
  anec publish out --repo acme/Qwen2.5-0.5B-ane --revision lut4 --zip

Makes the repository where it is missing, and sends what is new in one commit. Stopped by whatever, the same command goes on:
files that have arrived are not sent again. Models and their archives in the repository that are not published now are
removed from the branch, unless `--keep` is given; other files there stay.

HF_TOKEN or `hf auth login` gives the token, which must be allowed to write. HF_ENDPOINT names another hub.")]
pub struct Arguments {
    /// A converted directory, or one that holds those of several context lengths.
    path: PathBuf,

    /// The repository.
    #[arg(long, value_name = "ORG/NAME", value_parser = repository)]
    repo: ModelName,

    /// Branch to commit to; made where it is missing [default: main].
    #[arg(long, value_name = "BRANCH")]
    revision: Option<String>,

    /// Make the repository private, where it is made.
    #[arg(long)]
    private: bool,

    /// Also publish every compiled model as a zip archive, which apps download as one file. Archives are stored, not deflated:
    /// packed weights do not get smaller, and apps unpack them faster.
    #[arg(long)]
    zip: bool,

    /// Leave models in the repository that are not in the directory.
    #[arg(long)]
    keep: bool,

    /// Publish a model that was not verified, or failed; its card says so.
    #[arg(long)]
    unverified: bool,

    /// The first line of the commit's message [default: the program with its version].
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    /// Show the files, their sizes and the card, and stop. Asks no server.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    facts: Facts,

    /// Print what was published as JSON.
    #[arg(long)]
    json: bool,
}

/// What a card is called in a repository.
const CARD: &str = "README.md";

/// What is beside the files of a conversion and published with them.
const BESIDE: [&str; 3] = [CHECKSUMS, REPORT_JSON, REPORT_HTML];

fn repository(text: &str) -> Result<ModelName, String> {
    let name = ModelName::parse(text).filter(|name| !name.has_file());
    name.ok_or_else(|| "expected OWNER/NAME".to_owned())
}

/// What `--dry-run` shows.
#[derive(Serialize)]
struct DryRun<'a> {
    repository: String,
    revision: &'a str,
    files: Vec<Listed<'a>>,
    bytes: u64,
    card: &'a str,
}

#[derive(Serialize)]
struct Listed<'a> {
    path: &'a str,
    size: u64,
    sha256: &'a str,
}

/// Publishes a converted directory.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let name = name(arguments)?;
    let directories = converted_directories(&arguments.path)?;
    for directory in &directories {
        check_verified(directory, arguments.unverified, console)?;
    }
    let card = card::card(&arguments.path, &arguments.facts)?;
    let io = |error: std::io::Error| failed(error.to_string());
    let archives = tempfile::tempdir().map_err(io)?;
    let mut files = files(arguments, &directories, archives.path(), console)?;
    files.push(LocalFile::of_bytes(CARD, card.clone().into_bytes()));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if arguments.dry_run {
        return show(arguments, &name, &files, &card, console);
    }
    console.status(&format!("Publishing {} to {name}", counted(files.len(), "file")));
    let (bar, mut progress) = transfer_progress(console);
    let default = format!("anec {}", env!("CARGO_PKG_VERSION"));
    let published = hub::publish(
        &Publication {
            name: &name,
            files: &files,
            is_private: arguments.private,
            summary: arguments.message.as_deref().unwrap_or(&default),
            is_stale: &|path| !arguments.keep && is_of_a_model(path),
        },
        &mut progress,
    )?;
    bar.finish_and_clear();
    tell(&published, arguments.json, console)
}

/// Where to.
fn name(arguments: &Arguments) -> Result<ModelName, Failure> {
    let Some(revision) = &arguments.revision else { return Ok(arguments.repo.clone()) };
    if arguments.repo.has_revision() && arguments.repo.revision() != revision {
        return Err(failed(format!(
            "`--repo` names the revision {}, `--revision` {revision}",
            arguments.repo.revision()
        )));
    }
    let name = arguments.repo.clone().at(revision);
    name.ok_or_else(|| failed(format!("`--revision {revision}`: expected the name of a branch")))
}

/// Requires that a directory was verified, or that it is wanted without.
fn check_verified(directory: &Path, is_wanted: bool, console: Console) -> Result<(), Failure> {
    let Some(objection) = Verification::of(directory).objection() else { return Ok(()) };
    if is_wanted {
        console.warning(&format!("`{}`: {objection}; the card says so", directory.display()));
        return Ok(());
    }
    Err(Failure {
        message: format!("Cannot publish `{}`: {objection}", directory.display()),
        hint: Some(format!(
            "run `anec verify {0} --against CHECKPOINT --report {0}`, or add `--unverified`",
            directory.display()
        )),
    })
}

/// Everything that is published but the card.
fn files(
    arguments: &Arguments,
    directories: &[PathBuf],
    archives: &Path,
    console: Console,
) -> Result<Vec<LocalFile>, Failure> {
    let io = |error: std::io::Error| failed(error.to_string());
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    let mut expected = Vec::new();
    for directory in directories {
        // A directory of several contexts is a folder of the repository.
        let folder = directory.strip_prefix(&arguments.path).unwrap_or(Path::new(""));
        let within = |path: &str| match folder.to_str() {
            Some(folder) if !folder.is_empty() => format!("{folder}/{path}"),
            _ => path.to_owned(),
        };
        let listed = checksums::listed(directory).map_err(io)?;
        for path in checksums::files_below(directory).map_err(io)? {
            if let Some(sum) = listed.get(&path) {
                expected.push((within(&path), sum.clone()));
            } else if !BESIDE.contains(&path.as_str()) {
                if path != CARD {
                    console.status(&format!("not published, because anec did not write it: {}", within(&path)));
                }
                continue;
            }
            paths.push((within(&path), directory.join(&path)));
        }
        if let Some(missing) = listed.keys().find(|path| !directory.join(path).is_file()) {
            return Err(changed(directory, missing));
        }
        if arguments.zip {
            for model in compiled_models(directory).map_err(io)? {
                let name = format!("{model}.{}", archive::EXTENSION);
                let archive = archives.join(within(&name).replace('/', "-"));
                archive::pack(&directory.join(&model), &archive).map_err(io)?;
                paths.push((within(&name), archive));
            }
        }
    }
    let files = hub::local_files(paths).map_err(io)?;
    for (path, sum) in expected {
        if files.iter().any(|file| file.path == path && file.sha256 != sum) {
            return Err(changed(&arguments.path, &path));
        }
    }
    Ok(files)
}

fn changed(directory: &Path, file: &str) -> Failure {
    Failure {
        message: format!("Cannot publish `{}`: `{file}` is not as {CHECKSUMS} says", directory.display()),
        hint: Some("`anec check` lists what was changed; convert again, or put it back".to_owned()),
    }
}

/// The compiled models of a directory, sorted.
fn compiled_models(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut models = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_model = path.is_dir() && path.extension().is_some_and(|extension| extension == COMPILED_EXTENSION);
        models.extend(path.file_name().and_then(|name| name.to_str()).filter(|_| is_model).map(str::to_owned));
    }
    models.sort_unstable();
    Ok(models)
}

/// Whether a path of a repository is a part of a model, or an archive of one.
fn is_of_a_model(path: &str) -> bool {
    let is_model = |part: &str| {
        let part = part.strip_suffix(&format!(".{}", archive::EXTENSION)).unwrap_or(part);
        let extension = Path::new(part).extension();
        [COMPILED_EXTENSION, PACKAGE_EXTENSION].iter().any(|model| extension.is_some_and(|found| found == *model))
    };
    path.split('/').any(is_model)
}

fn show(
    arguments: &Arguments,
    name: &ModelName,
    files: &[LocalFile],
    card: &str,
    console: Console,
) -> Result<(), Failure> {
    let bytes = files.iter().map(|file| file.size).sum();
    let text = if arguments.json {
        let listed = files.iter().map(|LocalFile { path, size, sha256, .. }| Listed { path, size: *size, sha256 });
        let (repository, revision) = (name.repository(), name.revision());
        let report = DryRun { repository, revision, files: listed.collect(), bytes, card };
        serde_json::to_string_pretty(&report).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        let mut text = String::new();
        for file in files {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>10}  {}", ByteSize(file.size).to_string(), file.path);
        }
        let _ = writeln!(
            text,
            "{:>10}  {} to {name}\n\n{CARD}:\n",
            ByteSize(bytes).to_string(),
            counted(files.len(), "file")
        );
        text + card
    };
    console.data(&text).map_err(|error| failed(error.to_string()))
}

fn tell(published: &Published, as_json: bool, console: Console) -> Result<(), Failure> {
    for path in &published.removed {
        console.status(&format!("removed: {path}"));
    }
    for path in &published.ignored {
        console.warning(&format!("`{path}` is not published, because the repository ignores it"));
    }
    if as_json {
        let json = serde_json::to_string_pretty(published).map_err(|error| failed(error.to_string()))?;
        return console.data(&(json + "\n")).map_err(|error| failed(error.to_string()));
    }
    match &published.commit {
        None => console.status("Nothing is new: no commit was made"),
        Some(_) => console.status(&format!(
            "{} new or changed, {} sent: {}",
            counted(published.changed.len(), "file"),
            ByteSize(published.sent_bytes),
            published.url
        )),
    }
    Ok(())
}

fn failed(message: String) -> Failure {
    Failure { message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_and_their_archives_go_stale() {
        for path in ["a.mlmodelc/model.mil", "context_512/a.mlpackage/Manifest.json", "a.mlmodelc.zip"] {
            assert!(is_of_a_model(path), "{path}");
        }
        for path in ["README.md", ".gitattributes", "images/a.png", "context_512/meta.yaml", "notes.zip"] {
            assert!(!is_of_a_model(path), "{path}");
        }
    }

    #[test]
    fn a_repository_has_an_owner_and_no_file() {
        assert!(repository("acme/model").is_ok() && repository("acme/model@lut4").is_ok());
        assert!(repository("model").is_err() && repository("acme/model/a.gguf").is_err());
    }
}
