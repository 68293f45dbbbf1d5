//! What the documents say can be done: every command is one that `anec` takes, and every link leads somewhere.

use std::path::{Path, PathBuf};

use anec_converter::cli::Cli;
use clap::Parser as _;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown document of the project, by its path from the root.
fn documents() -> Vec<(PathBuf, String)> {
    let directories =
        ["", "docs", "docs/layouts", "tests/conformance", "tests/data", "examples", "examples/ci", "fuzz"];
    let mut found = Vec::new();
    for directory in directories {
        let Ok(entries) = fs_err::read_dir(root().join(directory)) else { continue };
        for entry in entries {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push((path.clone(), fs_err::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    assert!(found.len() > 8, "{}", found.len());
    found
}

/// Lines of blocks for a shell that start with `anec `, with those that they go on in, without comments.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut in_block, mut goes_on) = (false, false);
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            (in_block, goes_on) = (!in_block && ["console", "sh", "shell", "bash"].contains(&language.trim()), false);
            continue;
        }
        let line = line.trim();
        if goes_on || in_block && line.starts_with("anec ") {
            let (code, more) = match line.strip_suffix('\\') {
                Some(code) => (code, true),
                None => (line, false),
            };
            if goes_on {
                let last = found.last_mut().expect("a command that goes on");
                last.push_str(code);
            } else {
                found.push(code.to_owned());
            }
            goes_on = more;
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_is_one_that_anec_takes() {
    let mut checked = 0;
    for (path, text) in documents() {
        // Made of the help itself, whose usage lines are no commands.
        if path.ends_with("docs/cli.md") {
            continue;
        }
        for command in commands(&text) {
            let words = shlex::split(&command).unwrap_or_else(|| panic!("{}: {command}", path.display()));
            let words = words.into_iter().take_while(|word| !["|", "&&", ">", ">>", ";"].contains(&word.as_str()));
            if let Err(error) = Cli::try_parse_from(words) {
                let is_answer = matches!(
                    error.kind(),
                    clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
                );
                assert!(is_answer, "{}: {command}\n{error}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// The targets of links, apart from those in code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = rest.get(start + 2..).unwrap_or_default();
            if let Some(end) = rest.find(')') {
                found.extend(rest.get(..end));
            }
        }
    }
    found
}

/// What a heading is called in links: lower case, spaces as hyphens, without punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.flat_map(char::to_lowercase).map(|character| if character == ' ' { '-' } else { character }).collect()
}

#[test]
fn every_link_within_the_documents_leads_somewhere() {
    for (path, text) in documents() {
        for link in links(&text) {
            if link.starts_with("http://") || link.starts_with("https://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, section) = link.split_once('#').map_or((link, None), |(file, section)| (file, Some(section)));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().expect("a file has a directory").join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            if let Some(section) = section {
                let text = fs_err::read_to_string(&target).expect("a document");
                let mut headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                let has = headings.any(|heading| anchor(heading.trim_start_matches('#')) == section);
                assert!(has, "{}: {link}", path.display());
            }
        }
    }
}
