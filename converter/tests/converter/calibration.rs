//! Calibrated conversions: the same bytes whatever happens on the way, and less lost than without.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anec_converter::calibrate::evaluate::{Replaced, divergence, hidden};
use anec_converter::calibrate::{
    CalibrateError, Calibration, CalibrationSource, Calibrator, PaletteShape, Palettes, Strength, TensorRows, Tokens,
    calibration_tokens,
};
use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::model::decoder_plan::DecoderPlan;
use anec_converter::source::checkpoint::Checkpoint;
use anec_quantize::{Method, Palettizer};

fn checkpoint_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3")
}

/// A text that ships with the repository.
fn text() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

fn open() -> (Checkpoint, DecoderPlan) {
    let checkpoint = Checkpoint::open(&checkpoint_directory()).unwrap();
    let plan = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]).unwrap();
    (checkpoint, plan)
}

/// Palettes of four bits for all projections of the layers.
fn four_bits(checkpoint: &Checkpoint) -> Palettes {
    let names = checkpoint.tensor_names().filter(|name| name.ends_with("_proj.weight"));
    let palette = |tensor: &str| {
        let end = checkpoint.tensor(tensor).unwrap().shape[0] as u64;
        let rows = TensorRows { tensor: tensor.to_owned(), first: 0, end };
        (rows, PaletteShape { bits: 4, group_rows: 8 })
    };
    names.map(palette).collect()
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

fn command(output: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
    command.arg("convert").arg(checkpoint_directory()).arg("-o").arg(output).args(["--quiet"]).args(more);
    command
}

fn convert(output: &Path, more: &[&str]) -> Output {
    command(output, more).output().unwrap()
}

#[test]
fn interrupted_at_any_step_it_goes_on_to_the_same_results() {
    let (checkpoint, plan) = open();
    let palettes = four_bits(&checkpoint);
    let source = CalibrationSource::File(text());
    let run = |directory: &Path, steps: usize| {
        let left = AtomicUsize::new(steps);
        let interrupted = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        let calibration = Calibration {
            checkpoint: &checkpoint,
            plan: &plan,
            palettes: &palettes,
            strength: Strength::default(),
            source: &source,
            directory,
            identity: "a test",
            interrupted: &interrupted,
        };
        calibration.run(&mut |_| {}).map(|_| ())
    };
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), usize::MAX).unwrap();
    let expected = files(whole.path());
    assert!(expected.len() > plan.num_hidden_layers);
    for steps in [0, 1, 9, 16, 17, 30] {
        let part = tempfile::tempdir().unwrap();
        assert!(matches!(run(part.path(), steps), Err(CalibrateError::Interrupted)), "{steps}");
        // Again, not much further.
        let _ = run(part.path(), 3);
        run(part.path(), usize::MAX).unwrap();
        assert!(files(part.path()) == expected, "{steps}");
    }
}

#[test]
fn threads_and_kills_change_no_byte() {
    let parent = tempfile::tempdir().unwrap();
    let text = text();
    let options = ["--lut", "4", "--calibration", text.to_str().unwrap()];
    let one = parent.path().join("one");
    let result = convert(&one, &[&options[..], &["--threads", "1"]].concat());
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    let expected = files(&one);
    for (index, moment) in [30, 200, 600, 1200].into_iter().enumerate() {
        let output = parent.path().join(format!("two_{index}"));
        let mut process = command(&output, &[&options[..], &["--threads", "2"]].concat()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        process.kill().unwrap();
        process.wait().unwrap();
        if !output.exists() {
            let result = convert(&output, &[&options[..], &["--resume", "--threads", "2"]].concat());
            assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        }
        assert!(files(&output) == expected, "{moment} ms");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_what_is_finished() {
    let (checkpoint, plan) = open();
    let palettes = four_bits(&checkpoint);
    let source = CalibrationSource::File(text());
    let run = |directory: &Path| {
        let calibration = Calibration {
            checkpoint: &checkpoint,
            plan: &plan,
            palettes: &palettes,
            strength: Strength::default(),
            source: &source,
            directory,
            identity: "a test",
            interrupted: &|| false,
        };
        calibration.run(&mut |_| {}).map(|_| ())
    };
    let whole = tempfile::tempdir().unwrap();
    run(whole.path()).unwrap();
    let expected = files(whole.path());
    for name in ["tokens", "layer_0000", "residual", "layer_0002"] {
        let part = tempfile::tempdir().unwrap();
        // What is written there finds no room, whatever the disk has.
        let full = part.path().join(format!("{name}.partial"));
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        let error = run(part.path()).unwrap_err();
        let CalibrateError::Store { source } = &error else { panic!("{name}: {error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{name}");
        fs::remove_file(full).unwrap();
        run(part.path()).unwrap();
        assert!(files(part.path()) == expected, "{name}");
    }
}

#[test]
fn four_bits_are_calibrated_and_checked_unless_told_otherwise() {
    let parent = tempfile::tempdir().unwrap();
    let run = |name: &str, options: &[&str]| {
        let output = parent.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
        command.arg("convert").arg(checkpoint_directory()).arg("-o").arg(&output).args(["--lut", "4"]).args(options);
        let result = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(result.status.success(), "{stderr}");
        (output, stderr, String::from_utf8_lossy(&result.stdout).into_owned())
    };
    let (output, said, json) = run("default", &["--json"]);
    for words in [
        "Calibrating with builtin, up to ",
        "answers of the checkpoint to prompts that ship",
        "tokens that it was not calibrated with: perplexity ",
    ] {
        assert!(said.contains(words), "expected `{words}` in:\n{said}");
    }
    assert!(!said.contains("far from the checkpoint"), "{said}");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let check = |name: &str| report["check"][name].as_f64().unwrap_or_else(|| panic!("{name} in {}", report["check"]));
    assert!(check("kl_mean") < 0.05 && check("top1") > 0.8, "{}", report["check"]);
    assert!(check("perplexity") < 1.05 * check("perplexity_checkpoint"), "{}", report["check"]);
    assert!(output.join("lm_head_lut6.mlpackage").is_dir() && output.join("recipe.json").is_file());
    let (output, said, _) = run("plain", &["--calibration", "none"]);
    assert!(!said.contains("alibrat"), "{said}");
    assert!(output.join("lm_head_lut4.mlpackage").is_dir() && !output.join("recipe.json").exists());
}

#[test]
fn text_that_tells_little_is_used_with_a_warning() {
    let parent = tempfile::tempdir().unwrap();
    for (name, text, warning) in [
        // Inputs of rank one or so: their Gram matrices are singular.
        ("same.txt", "all work and no play ".repeat(1000), "different tokens"),
        ("other.txt", "Мой дядя самых честных правил, когда не в шутку занемог. ".repeat(100), "times more tokens"),
    ] {
        let file = parent.path().join(name);
        fs::write(&file, text).unwrap();
        let output = parent.path().join("out");
        let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
        command.arg("convert").arg(checkpoint_directory()).arg("-o").arg(&output).args(["--lut", "4", "--force"]);
        let result = command.args(["--no-check", "--calibration"]).arg(file).output().unwrap();
        let stderr = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success() && stderr.contains(warning), "{name}: {stderr}");
    }
}

#[test]
fn calibrated_palettes_lose_less_than_half_of_what_plain_ones_lose_on_other_text() {
    let (checkpoint, plan) = open();
    let palettes = four_bits(&checkpoint);
    let proceed = || Ok(());
    let tokens = calibration_tokens(&CalibrationSource::Builtin, &checkpoint, &plan, &proceed).unwrap();
    assert!(tokens.description.contains("answers of the checkpoint"), "{}", tokens.description);
    let mut calibrated = Replaced::new();
    let strength = Strength::default();
    let mut calibrator = Calibrator::new(&checkpoint, &plan, &palettes, strength, &tokens.tokens).unwrap();
    while let Some(tensors) = calibrator.next_layer(&proceed).unwrap() {
        calibrated.extend(tensors.into_iter().map(|tensor| (tensor.rows.clone(), tensor.weights())));
    }
    let mut plain = Replaced::new();
    let mut palettizer = Palettizer::new(4, Method::Fast).unwrap();
    for rows in palettes.keys() {
        let shape = checkpoint.tensor(&rows.tensor).unwrap().shape.to_vec();
        let (mut weights, mut stored) = (Vec::new(), Vec::new());
        checkpoint.rows_f16(&rows.tensor, 0..shape[0], &mut weights).unwrap();
        for group in weights.chunks(8 * shape[1]) {
            let mut indices = Vec::new();
            let group = palettizer.group(group, &mut indices).unwrap();
            stored.extend(indices.iter().map(|index| group.palette.entries()[usize::from(*index)].to_f32()));
        }
        plain.insert(rows.clone(), stored);
    }
    let held_out = fs::read_to_string(checkpoint_directory().join("eval_tokens.json")).unwrap();
    let held_out: serde_json::Value = serde_json::from_str(&held_out).unwrap();
    let windows = held_out.get("windows").unwrap_or(&held_out).as_array().unwrap().iter().take(3);
    let tokens: Vec<Vec<u32>> = windows.map(|window| serde_json::from_value(window.clone()).unwrap()).collect();
    let tokens = Tokens { length: tokens[0].len(), tokens: tokens.concat() };
    let reference = hidden(&checkpoint, &plan, &Replaced::new(), &tokens).unwrap();
    let lost = |weights: &Replaced| {
        let model = hidden(&checkpoint, &plan, weights, &tokens).unwrap();
        divergence(&checkpoint, &plan, weights, &tokens, &reference, &model).unwrap().kl
    };
    let (calibrated, plain, nothing) = (lost(&calibrated), lost(&plain), lost(&Replaced::new()));
    assert!(nothing.abs() < 1e-9 && calibrated < 0.5 * plain, "{calibrated} {plain} {nothing}");
}

#[test]
fn text_that_cannot_be_used_is_refused_with_the_reason() {
    let parent = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = parent.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (file, message) in [
        (file("short.txt", "Too short."), "expected at least 1024"),
        (file("roles.jsonl", "[{\"content\": \"Hi\"}]"), "line 1: a message without `role`"),
        (file("broken.jsonl", "{\"messages\": ["), "line 1"),
        ("missing.txt".to_owned(), "missing.txt"),
    ] {
        let result = convert(&parent.path().join("out"), &["--lut", "4", "--calibration", &file]);
        let stderr = String::from_utf8_lossy(&result.stderr);
        assert!(!result.status.success() && stderr.contains(message), "{file}: {stderr}");
        assert!(fs::read_dir(parent.path()).unwrap().all(|entry| entry.unwrap().path().is_file()), "{file}");
    }
}
