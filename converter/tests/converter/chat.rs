//! A conversation with a pipe: every line is answered, for as long as there are lines.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A conversion whose context is soon full.
fn converted() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3");
    let output = directory.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
    command.arg("convert").arg(checkpoint).arg("-o").arg(&output);
    command.args(["--context-length", "64", "--batch-size", "8", "--calibration", "none", "--emit", "mlpackage", "-q"]);
    assert!(command.status().expect("the command starts").success());
    (directory, output)
}

/// The answers to some lines, as JSON, and all that was told.
fn chat(model: &Path, options: &[&str], lines: &[u8]) -> (Vec<serde_json::Value>, String, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
    command.arg("run").arg(model).args(["--chat", "--json", "--max-tokens", "6", "--greedy"]).args(options);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(lines).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers = stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    (answers, String::from_utf8_lossy(&output.stderr).into_owned(), output)
}

#[test]
fn a_conversation_goes_on_past_several_contexts() {
    let (_directory, model) = converted();
    let lines: Vec<String> = (0..20).map(|turn| format!("and what about number {turn}?\n")).collect();
    let (answers, told, output) = chat(&model, &[], lines.concat().as_bytes());
    assert!(output.status.success(), "{told}");
    assert_eq!(answers.len(), 20, "{told}");
    assert!(answers.iter().all(|answer| answer["finish"] != "context_full"), "{answers:?}");
    assert!(told.contains("the context of 64 tokens is full; the oldest turn is forgotten"), "{told}");
}

#[test]
fn a_line_that_cannot_be_answered_does_not_end_the_conversation() {
    let (_directory, model) = converted();
    let mut lines = b"hello\n".to_vec();
    lines.extend("word ".repeat(200).into_bytes());
    lines.extend(b"\n");
    lines.extend(vec![b'x'; 2 << 20]);
    lines.extend(b"\nagain\n");
    let (answers, told, output) = chat(&model, &[], &lines);
    assert_eq!(answers.len(), 2, "{told}");
    assert!(told.contains("expected at most 64") && told.contains("more than 1048576 bytes"), "{told}");
    assert!(!output.status.success(), "a script learns that a line was not answered");
}
