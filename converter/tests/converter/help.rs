//! What `--help` says is the page about the command line, word by word, and manual pages are made of the same.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use anec_converter::cli::Cli;
use clap::{Command, CommandFactory as _, Parser as _};

/// Columns of a terminal.
const WIDTH: usize = 100;

const HEAD: &str = "# The command line\n\n\
    Made of what `anec --help` and `anec COMMAND --help` say; a test keeps it so.\n";

fn commands() -> Vec<Command> {
    let mut command = Cli::command().term_width(WIDTH);
    command.build();
    command.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect()
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let whole = Cli::command().term_width(WIDTH);
    for mut command in std::iter::once(whole).chain(commands()) {
        let title =
            if command.get_name() == "anec" { "anec".to_owned() } else { format!("anec {}", command.get_name()) };
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(page, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()).expect("a string takes all");
    }
    page
}

#[test]
fn the_page_about_the_command_line_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let page = page();
    if env::var_os("ANEC_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).expect("the page is there").replace("\r\n", "\n");
    assert!(written == page, "docs/cli.md is out of date; ANEC_BLESS=1 writes it anew");
}

#[test]
fn every_command_says_what_it_is_for_and_every_option_what_it_does() {
    for command in commands() {
        let name = command.get_name().to_owned();
        assert!(command.get_about().is_some(), "{name}");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_anec")).arg("man").arg(directory.path()).output();
    assert!(output.expect("the command starts").status.success());
    for command in commands() {
        let page = directory.path().join(format!("anec-{}.1", command.get_name()));
        assert!(page.is_file(), "{}", page.display());
        assert_renders(&page);
    }
}

/// Renders a manual page with all warnings, where groff is there to do it.
fn assert_renders(page: &Path) {
    let rendered = std::process::Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(page).output();
    let Ok(rendered) = rendered else { return };
    let warnings = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    assert!(rendered.stdout.len() > 200, "{}", page.display());
}

#[test]
fn every_command_can_be_told_to_be_quiet_and_gives_data_as_json() {
    // What these print is a document, a script or files.
    let documents = ["card", "completions", "man", "predict", "tokenize", "train"];
    for command in commands() {
        let has = |name: &str| command.get_arguments().any(|argument| argument.get_long() == Some(name));
        assert!(has("quiet"), "{}", command.get_name());
        assert!(has("json") || documents.contains(&command.get_name()), "{}", command.get_name());
    }
}

#[test]
fn systems_are_called_alike_in_all_commands() {
    for command in commands() {
        if command.get_arguments().any(|argument| argument.get_long() == Some("target")) {
            for word in ["ios17", "ios18", "macos14", "macos15", "macos15-gpu"] {
                let parsed = Cli::try_parse_from(["anec", command.get_name(), "model", "--target", word]);
                assert!(parsed.is_ok(), "{} --target {word}", command.get_name());
            }
        }
    }
}
