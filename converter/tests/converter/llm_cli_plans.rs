//! Plans for coreml-llm-cli against the models that its author published.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;

use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::options::{Count, Options, Target};
use anec_converter::plan::{ConversionPlan, FilePlan};
use anec_mil::rules::system::System;
use anec_mil::rules::{self, Conditions, Severity, Subject};
use anec_mil::{NamedValueType, Opset};
use serde_json::{Value, json};

/// Llama-2-7b, Llama-3.2-1B and Llama-3.2-3B: hidden size, MLP, layers, heads, KV heads, head, vocabulary.
const MODELS: [(&str, [u64; 7]); 3] = [
    ("Llama-2-7b", [4096, 11_008, 32, 32, 32, 128, 32_000]),
    ("Llama-3.2-1B", [2048, 8192, 16, 32, 8, 64, 128_256]),
    ("Llama-3.2-3B", [3072, 8192, 28, 24, 8, 128, 128_256]),
];

fn config([hidden, mlp, layers, heads, kv_heads, head_dim, vocabulary]: [u64; 7]) -> Value {
    json!({
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": mlp,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "head_dim": head_dim, "max_position_embeddings": 4096,
    })
}

fn plan(sizes: [u64; 7], chunks: u32, head: Count, target: Target) -> ConversionPlan {
    let config = config(sizes);
    let decoder = arch::plan(ArchChoice::Auto, config.as_object().unwrap(), &[]).unwrap();
    let chunks = Count::Exactly(NonZeroU32::new(chunks).unwrap());
    let options = Options { layout: "coreml-llm-cli", chunks, lm_head_splits: head, target, ..Options::default() };
    ConversionPlan::new(decoder, options).unwrap()
}

/// Inputs and outputs of a file.
fn interface(file: &FilePlan) -> String {
    let function = &file.program().functions["main"];
    let text = |value: &NamedValueType| format!("{} {}", value.name, value.ty);
    let made: BTreeMap<&str, &NamedValueType> = function
        .block
        .operations
        .iter()
        .flat_map(|operation| &operation.outputs)
        .map(|output| (output.name.as_str(), output))
        .collect();
    let inputs: Vec<String> = function.inputs.iter().map(text).collect();
    let outputs: Vec<String> = function.block.outputs.iter().map(|name| text(made[name.as_str()])).collect();
    format!("  takes {}\n  gives {}\n", inputs.join(", "), outputs.join(", "))
}

/// The files with their interfaces, each interface of a role once.
fn summary(plan: &ConversionPlan) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for file in &plan.files {
        let layers = &file.label.layers;
        let _ = writeln!(text, "{} ({}, layers {layers:?})", file.stem, file.label.role);
        let interface = interface(file);
        if interface != last {
            text.push_str(&interface);
        }
        last = interface;
    }
    text
}

#[test]
fn files_counts_and_shapes_are_those_of_the_published_models() {
    let one = Count::Exactly(NonZeroU32::new(1).unwrap());
    for ((name, sizes), (chunks, head)) in MODELS.into_iter().zip([(11, one), (4, Count::Auto), (14, Count::Auto)]) {
        let plan = plan(sizes, chunks, head, Target::Macos14);
        assert!(plan.files.iter().all(|file| file.program().functions["main"].opset == Opset::Ios16));
        insta::assert_snapshot!(format!("llm_cli_{name}"), summary(&plan));
    }
}

#[test]
fn what_is_planned_lints_clean_for_both_systems() {
    for target in [Target::Macos14, Target::Macos15] {
        for (name, sizes) in MODELS {
            let plan = plan(sizes, 11, Count::Auto, target);
            for file in &plan.files {
                let model = plan.model(file).unwrap();
                let subject = Subject {
                    program: &model.program,
                    description: Some(&model.description),
                    weight_file_bytes: Some(file.weight_bytes),
                    constants: None,
                };
                let conditions = Conditions { chip: plan.options.chip, target: Some(System::Macos), os: None };
                let found: Vec<String> = rules::lint(subject, &conditions)
                    .into_iter()
                    .filter(|finding| finding.severity == Severity::Error)
                    .map(|finding| format!("{}: {}", finding.rule.id, finding.message))
                    .collect();
                assert_eq!(found, [""; 0], "{name}: {}", file.stem);
            }
        }
    }
}

#[test]
fn a_model_that_the_pipeline_cannot_hold_is_refused_with_the_reason() {
    let gemma = json!({
        "model_type": "gemma3_text", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
        "sliding_window": 128,
    });
    let decoder = arch::plan(ArchChoice::Auto, gemma.as_object().unwrap(), &[]).unwrap();
    let options = Options { layout: "coreml-llm-cli", ..Options::default() };
    let error = ConversionPlan::new(decoder, options).err().unwrap().to_string();
    assert!(error.starts_with("Cannot use `--layout coreml-llm-cli`: its pipeline has one mask"), "{error}");
}
