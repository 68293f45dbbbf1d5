//! Where stored weights came from is written beside them, and verification relies on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_converter::cli::Cli;
use anec_converter::commands;
use anec_runtime::ModelDirectory;
use anec_runtime::oracle::{Checkpoint, OracleConfig};
use anec_runtime::verify::{StoredWeights, stored_weights};
use anec_schemas::provenance::{PROVENANCE_JSON, Provenance};
use anec_schemas::report::MatchedBy;
use clap::Parser as _;
use tempfile::TempDir;

/// The shipped checkpoint.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny-qwen3")
}

fn convert(options: &[&str]) -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    let model = shipped();
    let mut arguments =
        vec!["anec", "convert", "--quiet", "--calibration", "none", "-o", output.to_str().expect("UTF-8")];
    arguments.push(model.to_str().expect("UTF-8"));
    arguments.extend(["--context-length", "64", "--batch-size", "8"]);
    arguments.extend(options);
    assert_eq!(commands::run(Cli::parse_from(&arguments)), ExitCode::SUCCESS, "{arguments:?}");
    (parent, output)
}

fn compared(directory: &Path) -> StoredWeights {
    let directory = ModelDirectory::open(directory).expect("converted");
    let checkpoint = Checkpoint::open(&shipped()).expect("a checkpoint");
    let config = OracleConfig::read(&shipped().join("config.json")).expect("a configuration");
    stored_weights(&directory, &checkpoint, &config, &mut |_| ()).expect("readable")
}

fn provenance(directory: &Path) -> Provenance {
    Provenance::from_json(&fs::read_to_string(directory.join(PROVENANCE_JSON)).expect("there")).expect("valid")
}

/// Changes the provenance of a directory and gives what is found then.
fn findings_after(directory: &Path, change: impl FnOnce(&mut Provenance)) -> Vec<String> {
    let path = directory.join(PROVENANCE_JSON);
    let before = fs::read(&path).expect("there");
    let mut changed = provenance(directory);
    change(&mut changed);
    fs::write(&path, changed.to_json().expect("finite")).expect("writable");
    let findings = compared(directory).origins.findings;
    fs::write(path, before).expect("writable");
    findings
}

#[test]
fn every_stored_weight_is_matched_and_every_tensor_is_stored() {
    for options in [
        &["--chunks", "2"][..],
        &["--lut", "4", "--channel-scale", "--lm-head-splits", "3"],
        &["--int8-embeddings", "--lm-head", "int8", "--runtime", "anemll"],
        &["--functions", "single", "--query-length", "8", "--kv", "mask"],
    ] {
        let (_parent, output) = convert(options);
        let found = compared(&output);
        assert_eq!(found.origins.matched_by, MatchedBy::Provenance);
        assert_eq!(found.origins.findings, [""; 0], "{options:?}");
        assert!(found.weights.iter().all(|weight| weight.snr_db.is_none_or(|snr_db| snr_db > 14.0)), "{options:?}");
        assert!(!found.tables.is_empty() && found.tables.iter().all(|table| table.error_max < 1e-3), "{options:?}");
        let tensors: BTreeSet<&str> = found.weights.iter().map(|weight| weight.tensor.as_str()).collect();
        let checkpoint = Checkpoint::open(&shipped()).expect("a checkpoint");
        assert_eq!(tensors, checkpoint.names().into_iter().collect(), "{options:?}");
    }
}

#[test]
fn the_file_is_the_same_each_time_and_has_a_checksum() {
    let options = ["--lut", "6", "--chunks", "2"];
    let ((_one, one), (_other, other)) = (convert(&options), convert(&options));
    let text = |directory: &Path| fs::read_to_string(directory.join(PROVENANCE_JSON)).expect("there");
    assert_eq!(text(&one), text(&other));
    let sums = fs::read_to_string(one.join("SHA256SUMS")).expect("there");
    assert!(sums.lines().any(|line| line.ends_with(PROVENANCE_JSON)), "{sums}");
}

#[test]
fn a_weight_without_an_origin_and_an_origin_without_a_weight_are_found() {
    let (_parent, output) = convert(&["--lut", "4", "--chunks", "1"]);
    let chunk = "combined_lut4_chunk_01of01";
    let removed = findings_after(&output, |changed| {
        let weights = &mut changed.models.get_mut(chunk).expect("there").weights;
        let at = weights.iter().position(|weight| weight.tensor.ends_with("layers.2.mlp.up_proj.weight"));
        weights.remove(at.expect("there"));
    });
    assert!(removed.iter().all(|finding| finding.contains("layers_2_up_proj")), "{removed:?}");
    assert!(!removed.is_empty());
    let added = findings_after(&output, |changed| {
        let weights = &mut changed.models.get_mut(chunk).expect("there").weights;
        let mut another = weights[0].clone();
        another.blobs = vec![4];
        weights.push(another);
    });
    assert_eq!(added.len(), 1, "{added:?}");
    assert!(added[0].contains("no program has"), "{added:?}");
    let unknown = findings_after(&output, |changed| {
        changed.models.get_mut(chunk).expect("there").weights[0].tensor = "nothing".to_owned();
    });
    assert!(unknown[0].contains("`nothing` is not in the checkpoint"), "{unknown:?}");
    let model = findings_after(&output, |changed| {
        let model = changed.models.remove("lm_head_lut4").expect("there");
        changed.models.insert("other".to_owned(), model);
    });
    assert!(model.iter().any(|finding| finding.contains("other: the model is not there")), "{model:?}");
    assert!(model.iter().any(|finding| finding.contains("lm_head_lut4: where")), "{model:?}");
}

#[test]
fn rows_that_are_said_to_be_others_show_as_noise_and_rows_outside_as_a_finding() {
    let (_parent, output) = convert(&["--lm-head-splits", "2"]);
    let path = output.join(PROVENANCE_JSON);
    let mut changed = provenance(&output);
    let head = &mut changed.models.get_mut("lm_head").expect("there").weights;
    let rows: Vec<[u64; 2]> = head.iter().map(|weight| weight.rows).collect();
    (head[0].rows, head[1].rows) = (rows[1], rows[0]);
    fs::write(&path, changed.to_json().expect("finite")).expect("writable");
    let found = compared(&output);
    assert_eq!(found.origins.findings, [""; 0]);
    let worst = found.weights.iter().filter_map(|weight| weight.snr_db).min_by(f64::total_cmp);
    assert!(worst.expect("noise") < 3.0);
    let outside = findings_after(&output, |changed| {
        changed.models.get_mut("lm_head").expect("there").weights[0].rows = [u64::MAX - 1, u64::MAX];
    });
    assert!(outside[0].contains("outside of"), "{outside:?}");
}

#[test]
fn a_directory_without_the_file_is_matched_by_name_and_says_so() {
    let (_parent, output) = convert(&["--lut", "4", "--channel-scale", "--chunks", "2"]);
    let known = compared(&output);
    fs::remove_file(output.join(PROVENANCE_JSON)).expect("there");
    let found = compared(&output);
    assert_eq!(found.origins.matched_by, MatchedBy::Names);
    let matrices: Vec<_> = known.weights.into_iter().filter(|weight| weight.shape[1] > 1).collect();
    assert_eq!(found.weights, matrices, "names of this converter tell the matrices");
    assert_eq!(found.tables, known.tables);
}
