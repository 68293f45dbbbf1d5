//! What stands between a conversion and its users: the last check, and the card.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::cli::{anec, checkpoint, stderr, stdout};

#[test]
fn check_names_what_was_edited_after_the_conversion() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let converted = anec(&["convert", checkpoint().to_str().unwrap(), "-o", out, "--calibration", "none"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    let sound = anec(&["check", out]);
    assert!(sound.status.success(), "{}{}", stdout(&sound), stderr(&sound));
    assert!(stdout(&sound).contains("no report.json"), "{}", stdout(&sound));

    let meta = Path::new(out).join("meta.json");
    fs::write(&meta, "{}").unwrap();
    fs::remove_file(Path::new(out).join("config.json")).unwrap();
    let broken = anec(&["check", out, "--json"]);
    assert!(!broken.status.success());
    let checks: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    let checksums = &checks[0]["checks"][0];
    assert_eq!(checksums["outcome"], "failed", "{checks}");
    let detail = checksums["detail"].as_str().unwrap();
    assert!(detail.contains("`meta.json`") && detail.contains("`config.json`"), "{detail}");
}

#[test]
fn a_card_says_what_was_converted_and_that_nobody_verified_it() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let converted =
        anec(&["convert", checkpoint().to_str().unwrap(), "-o", out, "--calibration", "none", "--lut", "4"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    let card = stdout(&anec(&["card", out, "--base-model", "org/tiny\n- evil", "--license", "mit"]));
    assert!(card.starts_with("---\nlibrary_name: coreml\n"), "{card}");
    assert!(card.contains("base_model: \"org/tiny\\n- evil\"\n"), "{card}");
    assert!(card.contains("| `lm_head_lut4` | lm_head |") && card.contains("was not verified"), "{card}");
    let name = checkpoint().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(card.contains(&format!("- Command: `anec convert {name} --lut 4 --calibration none`\n")), "{card}");
    assert!(!card.contains(checkpoint().parent().unwrap().to_str().unwrap()), "no path of this machine: {card}");
    assert!(card.contains("`anec layouts anec --markdown`"), "{card}");
    let sums = fs::read(Path::new(out).join("SHA256SUMS")).unwrap();
    let sum = base16ct::lower::encode_string(&Sha256::digest(sums));
    assert!(card.ends_with(&format!("- `SHA256SUMS`: `{sum}`\n")), "{card}");

    let against = checkpoint();
    let verified =
        anec(&["verify", out, "--against", against.to_str().unwrap(), "--report", out, "--limit", "80", "-q"]);
    assert!(verified.status.success(), "{}", stdout(&verified));
    let card = stdout(&anec(&["card", out]));
    assert!(card.contains("| mean KL divergence, nats | 0.0"), "{card}");
    fs::write(Path::new(out).join("SHA256SUMS"), "").unwrap();
    assert!(stdout(&anec(&["card", out])).contains("changed after this verification"));
}

/// A directory with conversions, each by its name and its options.
fn conversions(wanted: &[(&str, &[&str])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, options) in wanted {
        let out = directory.path().join(name);
        let start = ["convert", checkpoint().to_str().unwrap(), "-o", out.to_str().unwrap(), "-q"].map(str::to_owned);
        let arguments: Vec<&str> = start.iter().map(String::as_str).chain(options.iter().copied()).collect();
        let converted = anec(&[&arguments[..], &["--calibration", "none", "--context-length", "128"]].concat());
        assert!(converted.status.success(), "{}", stderr(&converted));
    }
    directory
}

#[test]
fn two_conversions_and_a_checkpoint_are_compared_by_what_they_answer() {
    let directory = conversions(&[("lut2", &["--lut", "2"]), ("int8", &["--ffn", "int8", "--lm-head", "int8"])]);
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("prompts.txt"), "Once upon a time\n\nThe king said\n").unwrap();
    let (prompts, model) = (path("prompts.txt"), checkpoint().to_str().unwrap().to_owned());
    let compare = |second: &str, more: &[&str]| {
        let start = ["compare", &path("lut2"), second, "--prompts", &prompts, "--tokens", "8"].map(str::to_owned);
        let start: Vec<&str> = start.iter().map(String::as_str).collect();
        anec(&[&start[..], more].concat())
    };
    let text = stdout(&compare(&path("int8"), &[]));
    assert!(text.starts_with("> Once upon a time\n") && text.contains("> The king said"), "{text}");
    assert!(text.trim_end().lines().last().unwrap().contains("of 2 answers are the same; divergence"), "{text}");

    let against = |second: &str| -> serde_json::Value {
        let compared = compare(second, &["--json"]);
        assert!(compared.status.success(), "{}", stderr(&compared));
        serde_json::from_slice(&compared.stdout).unwrap()
    };
    let itself = against(&path("lut2"));
    assert_eq!((itself["same_answers"].as_u64(), itself["kl_mean"].as_f64()), (Some(2), Some(0.0)), "{itself}");
    // What is near the checkpoint is as far away as the checkpoint.
    let (near, checkpoint) = (against(&path("int8")), against(&model));
    let [near, checkpoint] = [near, checkpoint].map(|report| report["kl_mean"].as_f64().unwrap());
    assert!(near > 0.05 && (near - checkpoint).abs() < 0.3 * checkpoint, "{near} {checkpoint}");

    fs::write(&prompts, "\n").unwrap();
    assert!(stderr(&compare(&model, &[])).contains("has no prompt"));
}

#[test]
fn directories_differ_by_model_and_by_file() {
    let directory = conversions(&[
        ("a", &["--lut", "4"]),
        ("b", &["--lut", "4"]),
        ("c", &["--lut-ffn", "4", "--lut-lm-head", "6"]),
        ("d", &["--lut", "4", "--chunks", "2"]),
    ]);
    let diff = |left: &str, right: &str, more: &[&str]| {
        let [left, right] = [left, right].map(|name| directory.path().join(name).to_str().unwrap().to_owned());
        anec(&[&["diff", &left, &right], more].concat())
    };
    let same = diff("a", "b", &[]);
    assert!(same.status.success() && stderr(&same).contains("The directories are the same"), "{}", stdout(&same));
    let head = diff("a", "c", &["--limit", "1"]);
    assert_eq!(head.status.code(), Some(1));
    assert!(stdout(&head).contains("lm_head: 1 difference"), "{}", stdout(&head));
    assert!(!stdout(&head).contains("embeddings"), "{}", stdout(&head));
    let chunks: serde_json::Value = serde_json::from_slice(&diff("a", "d", &["--json"]).stdout).unwrap();
    let second = chunks.as_array().unwrap().iter().find(|found| found["left"] == "is not there");
    assert_eq!(second.map(|found| &found["right"]), Some(&"is there".into()), "{chunks}");

    fs::write(directory.path().join("b/config.json"), "{}").unwrap();
    let edited = diff("a", "b", &[]);
    assert!(stdout(&edited).contains("config.json: 1 difference\nSHA-256\n"), "{}", stdout(&edited));
    let refused = diff("a", "b/lm_head_lut4.mlmodelc", &[]);
    assert!(stderr(&refused).contains("two converted directories, or two models"), "{}", stderr(&refused));
}

#[test]
fn a_quick_verification_compares_and_keeps_nothing() {
    let directory = conversions(&[("out", &["--lut", "8"])]);
    let out = directory.path().join("out");
    let model = checkpoint();
    let verify = |more: &[&str]| {
        let start = ["verify", out.to_str().unwrap(), "--against", model.to_str().unwrap(), "--quick"];
        anec(&[&start[..], more].concat())
    };
    let verified = verify(&["--json"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((report["passed"].as_bool(), report["weights"].as_array().map(Vec::len)), (Some(true), Some(0)));
    assert_eq!(report["tokens"]["windows"], serde_json::json!([32]));
    assert!(stderr(&verified).contains("Comparing logits: 32 tokens"), "a stage in a log: {}", stderr(&verified));
    assert!(!out.join("report.json").exists() && !Path::new("report.json").exists());
    assert_eq!(verify(&["--report", "."]).status.code(), Some(2), "there is none to write");
    assert!(stdout(&anec(&["card", out.to_str().unwrap()])).contains("was not verified"));
}
