//! Both forms of a converted model compute the same, to the bit.
//!
//! Runs over the shipped checkpoint, and over every directory with a `config.json` below the path in `ANEC_FIXTURES`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_converter::cli::Cli;
use anec_converter::commands;
use anec_mil::evaluate::Tensor;
use anec_mil::stored::Form;
use anec_runtime::backend::{Backend, BackendError, ReferenceBackend, ReferenceModel};
use anec_runtime::{ModelDirectory, ModelPart};
use clap::Parser as _;

const BATCH_SIZE: usize = 64;
/// One full batch through `prefill`, the rest through `infer`.
const TOKENS: u32 = 70;
/// Lower than the vocabulary of every checkpoint.
const VOCABULARY: u32 = 200;

/// The reference engine on models of one form.
struct OneForm(Form);

impl Backend for OneForm {
    type Model = ReferenceModel;

    fn open(&self, part: &ModelPart) -> Result<ReferenceModel, BackendError> {
        let mut part = part.clone();
        match self.0 {
            Form::Package => part.compiled = None,
            _ => part.package = None,
        }
        ReferenceBackend::default().open(&part)
    }
}

/// The bits of the logits after every token that goes through the head, and the state at the end.
fn outputs(directory: &ModelDirectory, form: Form) -> (Vec<Vec<u32>>, BTreeMap<String, Vec<u32>>) {
    let mut session = directory.session(&OneForm(form)).expect("loadable");
    let tokens: Vec<u32> = (0..TOKENS).map(|index| (index * 37 + 11) % VOCABULARY).collect();
    let (batch, rest) = tokens.split_at(BATCH_SIZE);
    session.prefill(batch, 0).expect("computable");
    let logits = rest.iter().enumerate().map(|(index, token)| {
        let output = session.infer(*token, BATCH_SIZE + index).expect("computable");
        let logits = output.into_logits().expect("not argmax");
        logits.into_iter().map(f32::to_bits).collect()
    });
    let logits = logits.collect();
    let state = session.read_cache().expect("readable").into_iter();
    let bits = |tensor: &Tensor| tensor.as_floats().expect("floats").iter().map(|value| value.to_bits()).collect();
    (logits, state.map(|(name, tensor)| (name, bits(&tensor))).collect())
}

fn checkpoints() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny-qwen3");
    let others = std::env::var_os("ANEC_FIXTURES").map(|root| root.to_string_lossy().into_owned());
    let others = others.into_iter().flat_map(|root| std::fs::read_dir(root).expect("a directory"));
    let others = others.map(|entry| entry.expect("an entry").path()).filter(|path| path.join("config.json").is_file());
    std::iter::once(shipped).chain(others).collect()
}

#[test]
fn compiled_models_and_packages_compute_the_same_bits() {
    for checkpoint in checkpoints() {
        for lut in ["none", "6"] {
            let parent = tempfile::tempdir().expect("a temporary directory");
            let output = parent.path().join("out");
            let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
            let (model, out) = (text(&checkpoint), text(&output));
            let options = [
                "--lut",
                lut,
                "--context-length",
                "256",
                "--batch-size",
                "64",
                "--chunks",
                "2",
                "--calibration",
                "none",
            ];
            let arguments = ["anec", "convert", "--quiet", &model, "-o", &out].into_iter().chain(options);
            assert_eq!(commands::run(Cli::parse_from(arguments)), ExitCode::SUCCESS, "{model}");
            let directory = ModelDirectory::open(&output).expect("converted");
            let package = outputs(&directory, Form::Package);
            let compiled = outputs(&directory, Form::Compiled);
            assert!(package.0 == compiled.0, "{model} --lut {lut}: logits");
            assert!(package.1 == compiled.1, "{model} --lut {lut}: state");
            assert!(package.0.iter().flatten().any(|bits| *bits != 0), "{model}: all logits are zero");
        }
    }
}
