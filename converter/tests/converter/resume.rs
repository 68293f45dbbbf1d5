//! Conversions that are killed and gone on with: the same bytes, and nothing left behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Moments of a kill, in milliseconds: from before the first file to after the last, on slow and fast machines.
const MOMENTS: [u64; 7] = [0, 5, 15, 40, 80, 150, 300];

fn command(output: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
    command.arg("convert").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3"));
    command.arg("-o").arg(output).args(["--quiet", "--chunks", "2", "--calibration", "none"]).args(more);
    command
}

fn convert(output: &Path, more: &[&str]) -> Output {
    command(output, more).output().unwrap()
}

fn succeeds(result: &Output) {
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
}

fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(
                tree(&path).into_iter().map(|(name, bytes)| (Path::new(path.file_name().unwrap()).join(name), bytes)),
            );
        } else {
            files.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    files
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Starts a conversion and kills it; what it leaves is unknown.
fn kill(output: &Path, more: &[&str], moment: Duration) {
    let mut process = command(output, more).spawn().unwrap();
    std::thread::sleep(moment);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_killed_conversion_is_gone_on_with_to_the_same_bytes() {
    for options in [
        &["--lut", "4"][..],
        &["--lut", "8", "--group-size", "tensor", "--threads", "1"],
        &["--lut", "4", "--context-length", "64,128", "--channel-scale", "--int8-embeddings", "--lm-head", "int8"],
    ] {
        let parent = tempfile::tempdir().unwrap();
        let expected = parent.path().join("expected");
        succeeds(&convert(&expected, options));
        let expected = tree(&expected);
        for moment in MOMENTS.map(Duration::from_millis) {
            let parent = tempfile::tempdir().unwrap();
            let output = parent.path().join("out");
            kill(&output, options, moment);
            if names(parent.path()) != ["out"] {
                succeeds(&convert(&output, &[options, &["--resume"]].concat()));
            }
            assert_eq!(names(parent.path()), ["out"], "{moment:?}");
            assert!(tree(&output) == expected, "{moment:?}");
        }
    }
}

#[test]
fn parts_that_are_not_as_the_journal_says_are_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let (expected, output) = (parent.path().join("expected"), parent.path().join("out"));
    succeeds(&convert(&expected, &["--lut", "4"]));
    // Killed later and later, until one leaves finished parts.
    let work = parent.path().join(".out.partial");
    let has_parts = || fs::read_to_string(work.join("journal")).is_ok_and(|text| text.contains("part "));
    let mut moment = Duration::from_millis(2);
    while !has_parts() && !output.exists() {
        kill(&output, &["--lut", "4", "--threads", "1"], moment);
        moment += moment / 8;
    }
    if !output.exists() {
        for package in fs::read_dir(work.join("output")).unwrap() {
            let weights = package.unwrap().path().join("Data/com.apple.CoreML/weights/weight.bin");
            if let Ok(metadata) = fs::metadata(&weights) {
                fs::write(&weights, vec![0x55; usize::try_from(metadata.len()).unwrap()]).unwrap();
            }
        }
        succeeds(&convert(&output, &["--lut", "4", "--resume"]));
    }
    assert!(tree(&output) == tree(&expected));
}

#[test]
fn without_a_wish_to_resume_a_conversion_starts_over() {
    let parent = tempfile::tempdir().unwrap();
    let (expected, output) = (parent.path().join("expected"), parent.path().join("out"));
    succeeds(&convert(&expected, &["--lut", "6"]));
    kill(&output, &["--lut", "4"], Duration::from_millis(60));
    if !output.exists() {
        succeeds(&convert(&output, &["--lut", "6"]));
        assert!(tree(&output) == tree(&expected));
    }
}

#[test]
fn other_options_cannot_resume() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    kill(&output, &["--lut", "4"], Duration::from_millis(60));
    let journal = parent.path().join(".out.partial/journal");
    if fs::read_to_string(journal).is_ok_and(|text| text.contains('\n')) {
        let refused = convert(&output, &["--lut", "6", "--resume"]);
        assert_eq!(refused.status.code(), Some(1));
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(message.contains("other options") && message.contains("without `--resume`"), "{message}");
    }
}
