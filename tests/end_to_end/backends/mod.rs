//! The conformance suite of engines: on the reference engine, on the engine for Core ML over a framework that stands for it,
//! and, on a Mac, over Core ML itself. Then what the engine does when Core ML fails.

mod device;
mod private_ane;
mod scripted;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

use anec_converter::cli::Cli;
use anec_converter::commands;
use anec_runtime::backend::coreml::{Cancellation, Cause, CoreMlBackend, CoreMlOptions, FrameworkError, Units};
use anec_runtime::backend::{Backend as _, BackendError, Function as _, Model as _, ReferenceBackend, Tensors};
use anec_runtime::session::Output;
use anec_runtime::{ModelDirectory, ModelPart, PartLabel};
use anec_schemas::contract::stateful::{CHUNK, LM_HEAD, names};
use clap::Parser as _;
use tempfile::TempDir;

use scripted::{Script, Scripted, core_ml};

struct Bench {
    parent: TempDir,
    directory: ModelDirectory,
}

impl Bench {
    fn new() -> Self {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let output = parent.path().join("out");
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny-qwen3");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let options = ["--lut", "6", "--context-length", "64", "--batch-size", "8", "--chunks", "2"];
        let (model, out) = (text(&model), text(&output));
        let arguments =
            ["anec", "convert", "--quiet", "--calibration", "none", &model, "-o", &out].into_iter().chain(options);
        assert_eq!(commands::run(Cli::parse_from(arguments)), ExitCode::SUCCESS);
        let directory = ModelDirectory::open(&output).expect("converted");
        Self { parent, directory }
    }

    fn cache(&self) -> PathBuf {
        self.parent.path().join("cache")
    }

    fn scripted(&self, script: Script) -> (Scripted, CoreMlBackend<Scripted>, Cancellation) {
        let framework = Scripted { script: std::sync::Arc::new(script.into()), temporary: self.parent.path().into() };
        let cancellation = Cancellation::default();
        let options = CoreMlOptions { units: Units::CpuOnly, cache: self.cache(), cancellation: cancellation.clone() };
        let shared = framework.clone();
        (framework, CoreMlBackend::new(options, move || shared), cancellation)
    }

    /// The part with a label, as a package alone.
    fn package(&self, label: PartLabel) -> ModelPart {
        let part = self.directory.parts().iter().find(|part| part.label == label).expect("there");
        ModelPart { compiled: None, ..part.clone() }
    }
}

#[track_caller]
fn cause<T>(result: Result<T, BackendError>) -> Cause {
    match result {
        Err(BackendError::CoreMl { source, .. }) => source.cause(),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("expected an error"),
    }
}

fn stale() -> FrameworkError {
    core_ml("Failed to build the model execution plan with error code: -14.")
}

#[test]
fn the_reference_engine_does_what_engines_must() {
    suite::run(&ReferenceBackend::default(), &Bench::new().directory);
}

#[test]
fn the_engine_for_core_ml_does_what_engines_must() {
    let bench = Bench::new();
    let (framework, backend, _) = bench.scripted(Script::default());
    suite::run(&backend, &bench.directory);
    // Handles go without waiting; a call waits until they have gone.
    backend.system().expect("answers");
    assert_eq!(framework.script().alive, 0, "everything is freed");
}

#[test]
fn the_engine_for_core_ml_computes_what_the_reference_computes() {
    let bench = Bench::new();
    let (_, backend, _) = bench.scripted(Script::default());
    let logits = |output: Option<Output>| output.expect("fed").into_logits().expect("logits");
    let tokens: Vec<u32> = (1..20).collect();
    let mut reference = bench.directory.session(&ReferenceBackend::default()).expect("openable");
    let mut core_ml = bench.directory.session(&backend).expect("openable");
    let expected = logits(reference.feed(&tokens, 0).expect("computable"));
    assert_eq!(logits(core_ml.feed(&tokens, 0).expect("computable")), expected);
}

/// On a Mac, Core ML itself must pass, on the CPU alone and with the Neural Engine.
#[cfg(target_os = "macos")]
#[test]
fn core_ml_does_what_engines_must() {
    use anec_runtime::backend::coreml::SystemBackend;
    let bench = Bench::new();
    for units in [Units::CpuOnly, Units::CpuAndNeuralEngine] {
        let options = CoreMlOptions { units, cache: bench.cache(), cancellation: Cancellation::default() };
        suite::run(&SystemBackend::open_system(options).expect("macOS 15"), &bench.directory);
    }
}

#[cfg(not(target_os = "macos"))]
#[test]
fn systems_without_core_ml_say_so() {
    use anec_runtime::backend::coreml::SystemBackend;
    let options = CoreMlOptions { units: Units::All, cache: PathBuf::new(), cancellation: Cancellation::default() };
    let error = SystemBackend::open_system(options).expect_err("not on this system");
    assert!(error.hint().expect("a hint").contains("--backend reference"));
}

#[test]
fn a_package_is_compiled_once_for_each_build_of_the_system() {
    let bench = Bench::new();
    let part = bench.package(PartLabel::only(LM_HEAD));
    let compiles = |system: &str| {
        let (framework, backend, _) = bench.scripted(Script { system: system.to_owned(), ..Script::default() });
        backend.open(&part).expect("openable").load(names::MAIN).expect("loadable");
        framework.script().compiled.len()
    };
    assert_eq!(compiles("Version 15.5 (Build 24F74)"), 1);
    assert_eq!(compiles("Version 15.5 (Build 24F74)"), 0, "kept");
    assert_eq!(compiles("Version 15.6 (Build 24G84)"), 1, "another build");
}

#[test]
fn a_stale_model_of_the_cache_is_compiled_once_more() {
    let bench = Bench::new();
    let part = bench.package(PartLabel::only(LM_HEAD));
    let (framework, backend, _) = bench.scripted(Script::default());
    backend.open(&part).expect("openable");
    framework.script().loads = [Some(stale())].into();
    let model = backend.open(&part).expect("openable");
    model.load(names::MAIN).expect("loadable at the second attempt");
    assert_eq!(framework.script().compiled.len(), 2);
    framework.script().loads = [Some(stale()), Some(stale()), Some(stale())].into();
    assert_eq!(cause(model.load(names::MAIN)), Cause::NoPlan, "not for ever");
    assert_eq!(framework.script().loads.len(), 1, "one attempt and one more");
}

#[test]
fn a_compiled_model_that_fails_gives_way_to_its_package() {
    let bench = Bench::new();
    let part = bench.directory.parts().last().expect("a head").clone();
    assert!(part.compiled.is_some() && part.package.is_some());
    let (framework, backend, _) = bench.scripted(Script { loads: [Some(stale())].into(), ..Script::default() });
    backend.open(&part).expect("openable").load(names::MAIN).expect("loadable from the package");
    assert_eq!(framework.script().compiled.len(), 1);
    let alone = ModelPart { package: None, ..part };
    framework.script().loads = [Some(stale())].into();
    let model = backend.open(&alone).expect("openable");
    assert_eq!(cause(model.load(names::MAIN)), Cause::NoPlan, "there is nothing to compile");
}

#[test]
fn failures_that_compiling_cannot_mend_are_reported_at_once() {
    let bench = Bench::new();
    let (framework, backend, _) = bench.scripted(Script::default());
    let part = bench.package(PartLabel::numbered(CHUNK, 1));
    let model = backend.open(&part).expect("openable");
    framework.script().loads = [Some(core_ml("ANE request failed: status=0x23"))].into();
    let error = model.load(names::INFER).err().expect("refused");
    assert!(error.to_string().contains("`infer`") && error.hint().expect("a hint").contains("0x23"), "{error}");
    assert_eq!(framework.script().compiled.len(), 1);
}

#[test]
fn the_only_function_is_loaded_without_a_name() {
    let bench = Bench::new();
    let (framework, backend, _) = bench.scripted(Script { refuses_names: true, ..Script::default() });
    backend.open(&bench.package(PartLabel::only(LM_HEAD))).expect("openable").load(names::MAIN).expect("loadable");
    let functions: Vec<_> = framework.script().requests.iter().map(|request| request.function.clone()).collect();
    assert_eq!(functions, [None]);
    backend
        .open(&bench.package(PartLabel::numbered(CHUNK, 1)))
        .expect("openable")
        .load(names::INFER)
        .expect("tried without");
    assert_eq!(framework.script().requests.len(), 3);
}

#[test]
fn a_prediction_that_fails_tells_what_and_the_next_works() {
    let bench = Bench::new();
    let failure = core_ml("Unable to compute the prediction: status=0x1d : statusType=0x9: Program Inference error");
    let (_, backend, _) = bench.scripted(Script { predictions: [Some(failure)].into(), ..Script::default() });
    let mut session = bench.directory.session(&backend).expect("openable");
    assert!(session.infer(1, 0).expect_err("scripted").to_string().contains("cannot run"));
    session.reset().expect("a new state");
    session.infer(1, 0).expect("computable");
}

#[test]
fn a_prediction_that_hangs_can_be_cancelled() {
    let bench = Bench::new();
    let (release, hold) = mpsc::channel();
    let (_, backend, cancellation) = bench.scripted(Script { hold: Some(hold), ..Script::default() });
    let part = bench.package(PartLabel::only(LM_HEAD));
    let function = backend.open(&part).expect("openable").load(names::MAIN).expect("loadable");
    let input = function.signature().inputs[0].clone();
    let zeros = suite::zeros(&input);
    let inputs = Tensors::from([(input.name, zeros)]);
    let mut state = function.new_state().expect("a state");
    let waits = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        cancellation.cancel();
    });
    assert_eq!(cause(function.predict(&inputs, &mut state)), Cause::Cancelled);
    assert_eq!(cause(function.new_state()), Cause::Cancelled, "nothing goes on after that");
    waits.join().expect("no panic");
    drop(release);
}

#[test]
fn a_plan_covers_the_operations_of_one_function() {
    let bench = Bench::new();
    let (_, backend, _) = bench.scripted(Script::default());
    let model = backend.open(&bench.package(PartLabel::numbered(CHUNK, 1))).expect("openable");
    let operations = |function: &str| model.compute_plan(function).expect("planned").operations.len();
    assert!(operations(names::INFER) > 100);
    assert_eq!(cause(model.compute_plan("none")), Cause::NoSuchFunction);
}
