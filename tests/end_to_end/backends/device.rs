//! What a verification on a device finds, with a framework that stands for Core ML.

use std::path::Path;

use anec_mil::evaluate::{Numerics, Tensor};
use anec_runtime::backend::Tensors;
use anec_runtime::backend::coreml::Units;
use anec_runtime::oracle::{Checkpoint, Implementation, Oracle, OracleConfig};
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer};
use anec_runtime::verify::{DeviceOptions, TEXT, TEXT_NAME, Thresholds, TokenWindows, Verification, VerifyOptions};
use anec_schemas::report::{DeviceReport, Report};

use super::Bench;
use super::scripted::Script;

/// Tokens that are compared, and predictions: more, so that some are made again.
const TOKENS: usize = 24;
const PREDICTIONS: usize = 30;

/// The report of the shipped checkpoint with 6-bit palettes.
fn verified(script: Script) -> Report {
    let bench = Bench::new();
    let (_, backend, _) = bench.scripted(script);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny-qwen3");
    let checkpoint = Checkpoint::open(&model).expect("a checkpoint");
    let config = OracleConfig::read(&model.join("config.json")).expect("a configuration");
    let mut oracle = Oracle::new(config, &checkpoint, Implementation::Automatic).expect("computable");
    let tokenizer = TextTokenizer::open(&model).expect("a tokenizer");
    let mut tokens = tokenizer.encode(TEXT, SpecialTokens::Add).expect("text");
    tokens.truncate(TOKENS);
    let thresholds = Thresholds { neural_engine: Some(0.99), ..Thresholds::for_model(6, 4, Numerics::F32) };
    let verification = Verification {
        directory: &bench.directory,
        checkpoint: &checkpoint,
        oracle: &mut oracle,
        tokens: &TokenWindows { source: TEXT_NAME.to_owned(), windows: vec![tokens] },
        options: &VerifyOptions {
            numerics: Numerics::F32,
            thresholds,
            generator: "a test".to_owned(),
            logits_only: false,
        },
        progress: &mut |_| (),
    };
    let device = DeviceOptions { units: Units::CpuAndNeuralEngine, predictions: PREDICTIONS };
    verification.on_device(&backend, device).expect("verifiable")
}

fn device(report: &Report) -> &DeviceReport {
    report.device.as_ref().expect("a device")
}

/// Names of the checks that do not hold.
fn failed(report: &Report) -> Vec<&str> {
    assert_eq!(report.passed, report.checks.iter().all(|check| check.passed));
    report.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect()
}

/// Changes the results of every prediction.
fn change(outputs: &mut Tensors, change: impl Fn(&mut [f32])) {
    for tensor in outputs.values_mut() {
        let mut values = tensor.as_floats().expect("floats").into_owned();
        change(&mut values);
        *tensor = Tensor::floats(tensor.dtype(), tensor.shape(), values).expect("as many");
    }
}

#[test]
fn a_device_that_computes_the_same_passes() {
    let report = verified(Script { system: "Version 15.6 (Build 24G84)".to_owned(), ..Script::default() });
    assert_eq!(failed(&report), [""; 0]);
    assert_eq!(report.model.backend, "coreml cpu-and-ne");
    let device = device(&report);
    assert_eq!(device.system, "Version 15.6 (Build 24G84)");
    let roles: Vec<&str> = device.agreement.iter().map(|part| part.role.as_str()).collect();
    for role in ["embeddings", "chunk 1", "chunk 2", "lm_head"] {
        assert!(roles.contains(&role), "{roles:?}");
    }
    assert!(device.agreement.iter().all(|part| part.psnr_db.is_none() && part.cosine >= 1.0));
    assert_eq!((device.predictions, device.not_finite, device.differing), (PREDICTIONS as u64, 0, 0));
    let functions: Vec<&str> = device.plans.iter().map(|plan| plan.function.as_str()).collect();
    assert_eq!(functions, ["main", "infer", "prefill", "infer", "prefill", "main"]);
}

#[test]
fn ops_that_left_the_neural_engine_fail_and_are_named_with_their_rules() {
    let report = verified(Script { on_cpu: Some("gather"), ..Script::default() });
    assert_eq!(failed(&report), ["device.neural_engine"]);
    let plans = &device(&report).plans;
    let elsewhere = || plans.iter().flat_map(|plan| &plan.elsewhere);
    assert!(elsewhere().next().is_some() && elsewhere().all(|operation| operation.op == "gather"));
    assert!(elsewhere().any(|operation| !operation.rules.is_empty()), "lint knows why gathers leave");
}

#[test]
fn a_device_that_computes_something_else_fails() {
    let report = verified(Script {
        spoil: Some(|outputs| change(outputs, |values| values.iter_mut().step_by(3).for_each(|value| *value *= 1.5))),
        ..Script::default()
    });
    assert!(failed(&report).contains(&"device.psnr_db"), "{:?}", failed(&report));
}

#[test]
fn logits_that_are_no_numbers_fail() {
    let report = verified(Script {
        spoil: Some(|outputs| {
            if outputs.keys().any(|name| name.starts_with("logits")) {
                change(outputs, |values| values[0] = f32::NAN);
            }
        }),
        ..Script::default()
    });
    assert!(failed(&report).contains(&"device.not_finite"), "{:?}", failed(&report));
    assert_eq!(device(&report).not_finite, PREDICTIONS as u64);
}
