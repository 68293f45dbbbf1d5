//! How weights are stored: what the options say together, and int8 layers before lint and verification.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;

use super::cli::{anec, checkpoint, names, stderr, stdout};

#[test]
fn layers_of_int8_hold_before_lint_and_verification() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let path = output.to_str().unwrap();
    let model = checkpoint();
    let model = model.to_str().unwrap();
    let converted = anec(&["convert", model, "-o", path, "--ffn", "int8", "--chunks", "2", "--quiet"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    assert!(output.join("combined_int8_chunk_01of02.mlpackage").is_dir(), "{:?}", names(&output));
    assert!(fs::read_to_string(output.join("meta.yaml")).unwrap().contains("# ffn = int8, a scale per channel\n"));
    let linted = anec(&["lint", path]);
    assert!(stdout(&linted).contains("0 errors, 0 warnings"), "{}", stdout(&linted));
    let report = parent.path().join("report.json");
    let verified = anec(&["verify", path, "--against", model, "--report", report.to_str().unwrap()]);
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
}

#[test]
fn storages_that_contradict_each_other_are_refused_by_name() {
    let checkpoint = checkpoint();
    for (options, named) in [
        (&["--ffn", "int8", "--lut-ffn", "4"][..], ["`--ffn int8`", "`--lut-ffn 4`"]),
        (&["--lm-head", "int8", "--lut-lm-head", "4"], ["`--lm-head int8`", "`--lut-lm-head 4`"]),
        (&["--ffn", "lut4:8", "--group-size", "16"], ["`--ffn lut4:8`", "`--group-size 16`"]),
        (&["--embeddings", "lut4:8+scale"], ["lut4:8+scale", "gathered"]),
        (&["--lut", "4", "--group-size", "tensor"], ["`lut4:tensor`", "`--calibration none`"]),
        (&["--lut-ffn", "6", "--channel-scale"], ["`lut6:8+scale`", "`--calibration none`"]),
        (&["--ffn", "lut4+calibrated", "--calibration", "none"], ["`lut4:8+calibrated`", "`--calibration none`"]),
    ] {
        let refused = anec(&[&["plan", checkpoint.to_str().unwrap()], options].concat());
        assert_eq!(refused.status.code(), Some(1), "{options:?}");
        assert!(named.iter().all(|name| stderr(&refused).contains(name)), "{options:?}: {}", stderr(&refused));
    }
}

#[test]
fn options_that_do_nothing_are_said_to() {
    let checkpoint = checkpoint();
    let plan = |options: &[&str]| {
        let planned = anec(&[&["plan", checkpoint.to_str().unwrap()], options].concat());
        assert!(planned.status.success(), "{}", stderr(&planned));
        stderr(&planned)
    };
    for (options, option) in [
        (&["--group-size", "16"][..], "--group-size"),
        (&["--palette", "exact"], "--palette"),
        (&["--channel-scale"], "--channel-scale"),
        (&["--lut", "4", "--ffn", "int8", "--lm-head", "int8"], "--lut"),
        (&["--lut", "4", "--palette", "exact"], "--palette"),
        (&["--ffn", "int8", "--calibration", "builtin"], "--calibration"),
        (&["--lut", "3", "--uniform"], "--uniform"),
        (&["--lut", "4", "--calibration", "none", "--uniform"], "--uniform"),
        (&["--query-length", "8"], "--query-length"),
        (&["--functions", "single", "--batch-size", "32"], "--batch-size"),
    ] {
        assert!(plan(options).contains(&format!("`{option}` has no effect")), "{options:?}");
    }
    let all = ["--lut", "4", "--group-size", "16", "--palette", "exact", "--channel-scale", "--batch-size", "32"];
    assert!(!plan(&[&all[..], &["--calibration", "none"]].concat()).contains("no effect"));
    assert!(
        !plan(&["--lut", "4", "--group-size", "16", "--uniform", "--calibration", "builtin"]).contains("no effect")
    );
    assert!(!plan(&["--context-length", "32"]).contains("warning"), "the batch is no larger than the context");
}
