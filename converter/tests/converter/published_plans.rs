//! Plans of published models, from their configs alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anec_converter::commands::plan::summary;
use anec_converter::error::Hint as _;
use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::model::decoder_plan::DecoderPlan;
use anec_converter::options::{ConvSplits, Functions, KvWrite, Options, Target};
use anec_converter::plan::{ConversionPlan, FilePlan};
use anec_converter::weights::recipe::{Recipe, WeightKind};
use anec_converter::weights::storage::Storage;
use anec_mil::rules::system::System;
use anec_mil::rules::{self, Chip, Conditions, Severity, Subject, notch};
use anec_mil::{Argument, Binding, Function, Operation};

/// Configs in `tests/configs`, and those of the fixtures in `tests/data`.
fn configs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let list = |directory: PathBuf| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = list(root.join("tests/configs")).filter(json).collect();
    found.extend(list(root.join("../tests/data")).map(|path| path.join("config.json")).filter(|path| path.is_file()));
    found.sort();
    found
}

fn decoder(config: &Path) -> DecoderPlan {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    let name = config.display();
    arch::plan(ArchChoice::Auto, json.as_object().unwrap(), &[]).unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

/// The first two layers, which have the shapes of all.
fn shortened(config: &Path) -> DecoderPlan {
    let mut decoder = decoder(config);
    decoder.num_hidden_layers = 2;
    decoder.layers.truncate(2);
    decoder
}

fn name(config: &Path) -> String {
    let stem = config.file_stem().unwrap().to_string_lossy();
    let parent = config.parent().unwrap().file_name().unwrap().to_string_lossy();
    if stem == "config" { parent.into_owned() } else { stem.into_owned() }
}

fn palette(bits: Option<u8>) -> Storage {
    match bits {
        None => Storage::default(),
        Some(6) => "lut6:tensor".parse().unwrap(),
        Some(bits) => format!("lut{bits}").parse().unwrap(),
    }
}

/// Layers and head with palettes, embeddings as they are.
fn storage(ffn: Option<u8>, lm_head: Option<u8>) -> Recipe {
    Recipe::new(palette(ffn), palette(lm_head), Storage::default())
}

/// Bytes per core of every convolution of a package.
fn payloads(file: &FilePlan) -> BTreeSet<u64> {
    file.program().functions.values().flat_map(payloads_of).collect()
}

fn payloads_of(function: &Function) -> Vec<u64> {
    let operations = &function.block.operations;
    let outputs = |operation: &'_ Operation| operation.outputs.first().map(|output| output.name.clone());
    let made: BTreeMap<String, &Operation> =
        operations.iter().filter_map(|operation| Some((outputs(operation)?, operation))).collect();
    let convolutions = operations.iter().filter(|operation| operation.op == "conv");
    convolutions.map(|operation| payload(made[weight_name(operation)])).collect()
}

fn weight_name(operation: &Operation) -> &str {
    match operation.inputs["weight"].single() {
        Some(Binding::Name(name)) => name,
        other => panic!("{other:?}"),
    }
}

/// Bytes per core of a weight, given the operation that makes it.
fn payload(weight: &Operation) -> u64 {
    let shape = weight.outputs[0].ty.as_tensor().unwrap().fixed_shape().unwrap();
    let bits = match weight.inputs.get("indices").and_then(Argument::single) {
        Some(Binding::Value(indices)) => indices.ty.as_tensor().unwrap().dtype.bits(),
        _ => 16,
    };
    notch::payload_bytes(shape[0], shape[1], 1, u64::from(bits))
}

/// The plan, or why there is none.
fn plan_text(decoder: &DecoderPlan, options: Options) -> String {
    match ConversionPlan::new(decoder.clone(), options) {
        Ok(plan) => {
            let warnings = plan.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            summary(&plan) + &warnings.collect::<String>()
        }
        Err(error) => format!("error: {error}\nhint: {}\n", error.hint().unwrap_or_default()),
    }
}

#[test]
fn plans_of_published_models_are_as_reviewed() {
    for config in configs() {
        let decoder = decoder(&config);
        let plans = [
            ("--target ios18", Options::default()),
            ("--target macos15", Options { target: Target::Macos15, ..Options::default() }),
            ("--target ios18 --lut 4", Options { storage: storage(Some(4), Some(4)), ..Options::default() }),
        ];
        let texts = plans.map(|(asked, options)| format!("# {asked}\n\n{}", plan_text(&decoder, options)));
        insta::assert_snapshot!(name(&config), texts.join("\n"));
    }
}

#[test]
fn no_convolution_of_a_published_model_is_on_the_notch() {
    for config in configs() {
        for bits in [None, Some(4), Some(6), Some(8)] {
            let options = Options { storage: storage(bits, bits), target: Target::Macos15, ..Options::default() };
            let plan = ConversionPlan::new(shortened(&config), options).unwrap();
            for payload in plan.files.iter().flat_map(payloads) {
                assert_eq!(notch::on_notch(payload, Chip::Generic), None, "{} at {bits:?} bits", name(&config));
            }
        }
    }
}

#[test]
fn without_splitting_eight_published_models_are_on_the_notch() {
    let on_notch = |config: &PathBuf| {
        let options = Options { conv_splits: ConvSplits::None, target: Target::Macos15, ..Options::default() };
        let plan = ConversionPlan::new(shortened(config), options).unwrap();
        plan.files.iter().flat_map(payloads).any(|payload| notch::on_notch(payload, Chip::Generic).is_some())
    };
    let found: Vec<String> = configs().iter().filter(|config| on_notch(config)).map(|config| name(config)).collect();
    insta::assert_snapshot!(
        found.join(" "),
        @"llama-3.1-8b llama-3.2-1b llama-3.2-3b mistral-7b-v0.1 mistral-7b-v0.3 mistral-nemo-12b qwen2.5-0.5b qwen3-8b"
    );
}

#[test]
fn nothing_is_split_for_the_gpu() {
    for config in configs() {
        let options = Options { target: Target::Macos15Gpu, ..Options::default() };
        let plan = ConversionPlan::new(shortened(&config), options.clone()).unwrap();
        let whole =
            ConversionPlan::new(shortened(&config), Options { conv_splits: ConvSplits::None, ..options }).unwrap();
        assert_eq!(
            plan.files.iter().map(FilePlan::operation_count).collect::<Vec<_>>(),
            whole.files.iter().map(FilePlan::operation_count).collect::<Vec<_>>(),
            "{}",
            name(&config)
        );
    }
}

#[test]
fn context_lengths_share_their_weight_files() {
    for config in configs() {
        let options = Options { target: Target::Macos15, ..Options::default() };
        let plans = ConversionPlan::for_context_lengths(&shortened(&config), &options, &[256, 1024, 512]).unwrap();
        assert_eq!(plans.iter().map(|plan| plan.options.context_length).collect::<Vec<_>>(), [1024, 512, 256]);
        for plan in &plans[1..] {
            for (file, longest) in plan.files.iter().zip(&plans[0].files) {
                assert_eq!((&file.stem, file.weight_bytes), (&longest.stem, longest.weight_bytes));
            }
        }
    }
}

/// What the linter has against the packages of a plan, notes left out.
fn complaints(plan: &ConversionPlan) -> Vec<String> {
    let system = if plan.options.target == Target::Ios18 { System::Ios } else { System::Macos };
    let conditions = Conditions { chip: plan.options.chip, target: Some(system), os: None };
    let mut found = Vec::new();
    for file in &plan.files {
        let model = plan.model(file).unwrap();
        let subject = Subject {
            program: &model.program,
            description: Some(&model.description),
            weight_file_bytes: Some(file.weight_bytes),
            constants: None,
        };
        let findings = rules::lint(subject, &conditions).into_iter();
        let serious = findings.filter(|finding| finding.severity < Severity::Note);
        found.extend(serious.map(|finding| format!("{}: {}: {}", file.stem, finding.rule.id, finding.message)));
    }
    found
}

/// Plans that fit their target.
fn plans_for(config: &Path, target: Target, options: &Options) -> Option<ConversionPlan> {
    let mut options = Options { target, ..options.clone() };
    if let Ok(plan) = ConversionPlan::new(decoder(config), options.clone())
        && plan.warnings.is_empty()
    {
        return Some(plan);
    }
    // Models of 7 billion weights and more do not fit phones as they are.
    options.storage = Recipe::new(palette(Some(4)), palette(Some(4)), palette(Some(4)));
    ConversionPlan::new(decoder(config), options).ok()
}

#[test]
fn what_is_emitted_by_default_lints_clean_for_every_chip_and_both_targets() {
    for config in configs() {
        for target in [Target::Ios18, Target::Macos15] {
            let plan = plans_for(&config, target, &Options::default()).unwrap();
            assert_eq!(complaints(&plan), [""; 0], "{} for {target:?}", name(&config));
        }
    }
}

#[test]
fn every_option_lints_clean() {
    let options = [
        Options { functions: Functions::Single, batch_size: 16, ..Options::default() },
        Options { kv_write: KvWrite::Mask, ..Options::default() },
        Options { argmax: true, ..Options::default() },
        Options { chip: Chip::M4Pro, ..Options::default() },
        Options { layout: "anemll", ..Options::default() },
        Options { storage: storage(Some(6), Some(8)), ..Options::default() },
    ];
    for config in configs().iter().filter(|config| ["qwen3-0.6b", "llama-3.2-1b"].contains(&&*name(config))) {
        for options in &options {
            let plan = plans_for(config, Target::Ios18, options).unwrap();
            assert_eq!(complaints(&plan), [""; 0], "{} with {options:?}", name(config));
        }
    }
}

#[test]
fn one_tensor_can_be_stored_unlike_the_others() {
    let tensor = "model.layers.1.self_attn.q_proj.weight";
    let options = |storage: Recipe| Options { storage, ..Options::default() };
    let plan = |storage: Recipe| ConversionPlan::new(shortened(&configs()[0]), options(storage)).unwrap();
    let integers = |plan: &ConversionPlan| {
        let functions = plan.files.iter().flat_map(|file| file.program().functions.values());
        let operations = functions.flat_map(|function| &function.block.operations);
        let quantized = operations.filter(|operation| operation.op == "constexpr_blockwise_shift_scale");
        quantized.map(|operation| operation.outputs[0].name.clone()).collect::<BTreeSet<String>>()
    };
    assert!(integers(&plan(storage(Some(4), Some(4)))).is_empty());
    let recipe = storage(Some(4), Some(4)).with_tensor(WeightKind::Layer, tensor, "int8".parse().unwrap());
    let stored = integers(&plan(recipe));
    assert!(!stored.is_empty() && stored.iter().all(|name| name.starts_with("layers_1_q_proj")), "{stored:?}");
}
