//! Bits that are shared out by what they save: predictions hold, budgets are kept, choices are replayed.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anec_converter::calibrate::evaluate::{Replaced, divergence, hidden};
use anec_converter::calibrate::sensitivity::{Sensitivity, TensorChoices};
use anec_converter::calibrate::{CalibrationSource, Strength, TensorRows, Tokens, sample_tokens};
use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::model::decoder_plan::DecoderPlan;
use anec_converter::source::checkpoint::Checkpoint;
use anec_converter::weights::storage::Storage;

fn checkpoint_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3")
}

fn open() -> (Checkpoint, DecoderPlan) {
    let checkpoint = Checkpoint::open(&checkpoint_directory()).unwrap();
    let plan = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]).unwrap();
    (checkpoint, plan)
}

fn measure(checkpoint: &Checkpoint, plan: &DecoderPlan, candidates: &[&str], tokens: &Tokens) -> Vec<TensorChoices> {
    let candidates: Vec<Storage> = candidates.iter().map(|text| text.parse().unwrap()).collect();
    let sensitivity = Sensitivity {
        checkpoint,
        plan,
        candidates: &candidates,
        strength: Strength::default(),
        tokens,
        proceed: &|| Ok(()),
    };
    sensitivity.measure(&mut |_| {}).unwrap()
}

/// A tensor of a layer as int8 with a scale for each row, over and over coarser, so that its error is well above the noise of f32.
fn rounded(checkpoint: &Checkpoint, tensor: &str) -> (TensorRows, Vec<f32>) {
    let shape = checkpoint.tensor(tensor).unwrap().shape.to_vec();
    let mut weights = Vec::new();
    checkpoint.rows_f16(tensor, 0..shape[0], &mut weights).unwrap();
    let rounded = anec_quantize::quantize_rows_int8(&weights, shape[1]).unwrap();
    let columns = shape[1];
    let rows = rounded.data.chunks(columns).zip(&rounded.scales);
    let stored = rows.flat_map(|(row, scale)| row.iter().map(|value| f32::from(*value) * scale.to_f32())).collect();
    (TensorRows { tensor: tensor.to_owned(), first: 0, end: shape[0] as u64 }, stored)
}

#[test]
fn what_is_predicted_from_gradients_is_what_a_forward_pass_measures() {
    let (checkpoint, plan) = open();
    let tokens = sample_tokens(&CalibrationSource::Builtin, &checkpoint, &plan).unwrap().tokens;
    let tokens = Tokens { length: tokens.length, tokens: tokens.tokens[..4 * tokens.length].to_vec() };
    let found = measure(&checkpoint, &plan, &["int8"], &tokens);
    let reference = hidden(&checkpoint, &plan, &Replaced::new(), &tokens).unwrap();
    let mut by_kind: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for tensor in found.iter().filter(|tensor| tensor.tensor.contains("_proj")) {
        let replaced = Replaced::from([rounded(&checkpoint, &tensor.tensor)]);
        let model = hidden(&checkpoint, &plan, &replaced, &tokens).unwrap();
        let measured = divergence(&checkpoint, &plan, &replaced, &tokens, &reference, &model).unwrap().kl;
        let kind = tensor.tensor.rsplit('.').nth(1).unwrap().to_owned();
        let sums = by_kind.entry(kind).or_default();
        sums[0] += tensor.choices[0].divergence;
        sums[1] += measured;
    }
    assert_eq!(by_kind.len(), 7);
    for (kind, [predicted, measured]) in by_kind {
        let ratio = predicted / measured;
        assert!((0.6..1.7).contains(&ratio), "{kind}: predicted {predicted:.3e}, measured {measured:.3e}");
    }
}

#[test]
fn more_bits_cost_less_divergence_and_fp16_none() {
    let (checkpoint, plan) = open();
    let tokens = sample_tokens(&CalibrationSource::Builtin, &checkpoint, &plan).unwrap().tokens;
    let names = ["lut3:8+calibrated", "lut4:8+calibrated", "lut6:8+calibrated", "fp16"];
    let found = measure(&checkpoint, &plan, &names, &tokens);
    assert_eq!(found.len(), 7 * plan.num_hidden_layers + 1);
    for tensor in found {
        let costs: Vec<f64> = tensor.choices.iter().map(|choice| choice.divergence).collect();
        assert!(costs.windows(2).all(|pair| pair[0] > pair[1]), "{}: {costs:?}", tensor.tensor);
        assert_eq!(costs.last(), Some(&0.0));
        assert_eq!(tensor.choices[3].bits, 16 * tensor.elements);
    }
}

fn convert(output: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
    command.arg("convert").arg(checkpoint_directory()).arg("-o").arg(output).arg("--no-check").args(options);
    command.output().unwrap()
}

/// Files that name the options or the time of a conversion, and what is made of them.
const HOW_IT_WAS_MADE: [&str; 4] = ["meta.yaml", "meta.json", "provenance.json", "SHA256SUMS"];

/// All other files.
fn weights(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(weights(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else if !HOW_IT_WAS_MADE.iter().any(|file| name == Path::new(file)) {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_budget_gives_the_same_bytes_on_any_number_of_threads_and_its_recipe_gives_them_again() {
    let parent = tempfile::tempdir().unwrap();
    let run = |name: &str, options: &[&str]| {
        let output = parent.path().join(name);
        let result = convert(&output, options);
        let said = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(result.status.success(), "{said}");
        (weights(&output), said)
    };
    let (one, said) = run("one", &["--bits", "4.6", "--threads", "1"]);
    let bits: f64 = said
        .lines()
        .find_map(|line| line.split_once(" bits a weight in layers and head"))
        .unwrap()
        .0
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(bits <= 4.6 && bits > 4.55, "{said}");
    let (two, _) = run("two", &["--bits", "4.6", "--threads", "2"]);
    assert!(one == two);
    let recipe = parent.path().join("one/recipe.json");
    let (again, _) = run("again", &["--recipe", recipe.to_str().unwrap()]);
    assert!(one == again);
}

#[test]
fn budgets_that_cannot_be_kept_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    for (options, message) in [
        (&["--bits", "2"][..], "with 2 bits a weight, expected at least 3."),
        (&["--bits", "4.5", "--lut", "4"][..], "cannot be used with"),
        (&["--bits", "4.5", "--quality", "0.1"][..], "cannot be used with"),
        (&["--bits", "4.5", "--calibration", "none"][..], "`--calibration none` rules out"),
        (&["--quality=-1"][..], "expected a number above 0"),
    ] {
        let result = convert(&parent.path().join("out"), options);
        let stderr = String::from_utf8_lossy(&result.stderr);
        assert!(!result.status.success() && stderr.contains(message), "{options:?}: {stderr}");
    }
}
