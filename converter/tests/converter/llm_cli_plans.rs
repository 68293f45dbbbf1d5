//! Plans for coreml-llm-cli against the models that its author published.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
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
    let chunks = Count::Exactly(NonZeroU32::new(chunks).unwrap());
    let options = Options { layout: "coreml-llm-cli", chunks, lm_head_splits: head, target, ..Options::default() };
    plan_with(sizes, options)
}

fn plan_with(sizes: [u64; 7], options: Options) -> ConversionPlan {
    let config = config(sizes);
    let decoder = arch::plan(ArchChoice::Auto, config.as_object().unwrap(), &[]).unwrap();
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
    format!("takes {}\ngives {}\n", inputs.join(", "), outputs.join(", "))
}

/// Inputs and outputs of the chunks that the program's author published, of so many layers.
fn published_chunk([hidden, _, _, _, kv_heads, head_dim, _]: [u64; 7], layers: u64) -> String {
    let (x, kv) = (format!("tensor<fp16, [1, {hidden}, 8, 8]>"), kv_heads * head_dim);
    let turn = format!("tensor<fp16, [{head_dim}, 64]>");
    let each = |text: &dyn Fn(u64) -> String| {
        (0..layers).map(|layer| format!(", {}", text(layer))).collect::<Vec<_>>().concat()
    };
    let caches = each(&|layer| format!("k_cache_{layer} tensor<fp16, [1, 448, 1, {kv}]>"))
        + &each(&|layer| format!("v_cache_{layer} tensor<fp16, [1, {kv}, 1, 448]>"));
    let rows = each(&|layer| format!("new_k_cache_{layer} tensor<fp16, [1, 64, 1, {kv}]>"))
        + &each(&|layer| format!("new_v_cache_{layer} tensor<fp16, [1, {kv}, 1, 64]>"));
    format!("takes x {x}, cos {turn}, sin {turn}, mask tensor<fp16, [1, 512, 1, 64]>{caches}\ngives new_x {x}{rows}\n")
}

/// The logits of a head, part by part.
fn logits(parts: &[u64]) -> String {
    let text = |(number, rows): (usize, &u64)| match parts.len() {
        1 => format!("logits tensor<fp16, [1, 64, {rows}]>"),
        _ => format!("logits_{number} tensor<fp16, [1, 64, {rows}]>"),
    };
    parts.iter().enumerate().map(text).collect::<Vec<_>>().join(", ")
}

#[test]
fn files_counts_and_shapes_are_those_of_the_published_models() {
    let one = Count::Exactly(NonZeroU32::new(1).unwrap());
    // Chunks of layers, the layers of the first and the last, and the parts of the head. The published heads of 128256 tokens
    // have parts of 16384, which the Neural Engine reads slowly; as many equal ones are off that size.
    let expected: [(u32, Count, [u64; 2], &[u64]); 3] =
        [(11, one, [3, 2], &[32_000]), (4, Count::Auto, [4, 4], &[16_032; 8]), (14, Count::Auto, [2, 2], &[16_032; 8])];
    for ((name, sizes), (chunks, head, layers, parts)) in MODELS.into_iter().zip(expected) {
        let plan = plan(sizes, chunks, head, Target::Macos14);
        assert!(plan.files.iter().all(|file| file.program().functions["main"].opset == Opset::Ios16));
        let stems: Vec<&str> = plan.files.iter().map(|file| file.stem.as_str()).collect();
        let mut wanted: Vec<String> = (1..=chunks + 2).map(|number| format!("{name}_chunk{number}")).collect();
        wanted.extend(["cache-processor", "logit-processor"].map(str::to_owned));
        assert_eq!(stems, wanted);
        let inner: Vec<&FilePlan> = plan.chunks().collect();
        assert_eq!(interface(inner.first().unwrap()), published_chunk(sizes, layers[0]), "{name}");
        assert_eq!(interface(inner.last().unwrap()), published_chunk(sizes, layers[1]), "{name}");
        let [hidden, _, _, _, kv_heads, head_dim, _] = sizes;
        let (x, kv) = (format!("x tensor<fp16, [1, {hidden}, 8, 8]>"), kv_heads * head_dim);
        let of = |stem: &str| interface(plan.files.iter().find(|file| file.stem == stem).unwrap());
        let turn = format!("tensor<fp16, [{head_dim}, 64]>");
        assert_eq!(
            of(&format!("{name}_chunk1")),
            format!(
                "takes input_ids tensor<int32, [1, 64]>, full_sequence_length tensor<int32, [1]>\n\
                 gives {x}, cos {turn}, sin {turn}, mask tensor<fp16, [1, 512, 1, 64]>\n"
            )
        );
        let last = of(&format!("{name}_chunk{}", chunks + 2));
        assert_eq!(last, format!("takes {x}\ngives {}\n", logits(parts)));
        assert_eq!(of("logit-processor"), format!("takes {}\ngives argmax tensor<int32, [1, 64]>\n", logits(parts)));
        assert_eq!(
            of("cache-processor"),
            format!(
                "takes old_k_cache tensor<fp16, [1, 448, 1, {kv}]>, new_k_cache tensor<fp16, [1, 64, 1, {kv}]>, \
                 old_v_cache tensor<fp16, [1, {kv}, 1, 448]>, new_v_cache tensor<fp16, [1, {kv}, 1, 64]>\n\
                 gives updated_k_cache tensor<fp16, [1, 448, 1, {kv}]>, updated_v_cache tensor<fp16, [1, {kv}, 1, 448]>\n"
            )
        );
    }
}

#[test]
fn the_successor_reads_names_up_to_their_first_dot_and_so_gets_none() {
    for (name, sizes) in MODELS {
        let options = Options { layout: "coreml-llm-cli-sequoia", target: Target::Macos15, ..Options::default() };
        let plan = plan_with(sizes, options);
        let stems: Vec<&str> = plan.files.iter().map(|file| file.stem.as_str()).collect();
        let wanted = format!("{}_chunk1", name.replace('.', "-"));
        assert_eq!(stems.first(), Some(&wanted.as_str()));
        assert!(stems.iter().all(|stem| !stem.contains('.')), "{stems:?}");
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
