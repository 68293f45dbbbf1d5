//! Converts the shipped checkpoint and reads the packages back through every form that programs have.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_converter::cli::Cli;
use anec_converter::commands;
use anec_mil::package::{decode_model, encode_model};
use anec_mil::proto;
use anec_mil::text::{self, TextVersion};
use anec_mil::{DataType, Program, TensorType, ValueType};
use anec_runtime::ModelDirectory;
use clap::Parser as _;
use tempfile::TempDir;

/// The shipped checkpoint, converted with these options.
struct Converted {
    _parent: TempDir,
    output: PathBuf,
}

fn convert(options: &[&str]) -> Converted {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny-qwen3");
    let mut arguments =
        vec!["anec", "convert", "--quiet", "--calibration", "none", "-o", output.to_str().expect("UTF-8")];
    arguments.push(model.to_str().expect("UTF-8"));
    arguments.extend(options);
    let code = commands::run(Cli::parse_from(arguments));
    assert_eq!(code, ExitCode::SUCCESS);
    Converted { _parent: parent, output }
}

fn programs(converted: &Converted) -> Vec<(String, Program)> {
    let directory = ModelDirectory::open(&converted.output).expect("converted");
    let program = |part: &anec_runtime::ModelPart| {
        let package = part.open().expect("written");
        (part.stem.clone(), package.model().expect("valid").program)
    };
    directory.parts().iter().map(program).collect()
}

#[test]
fn programs_survive_text_and_protobuf() {
    for options in [&["--lut", "4", "--chunks", "2"][..], &["--argmax", "--lut-embeddings", "6"]] {
        for (stem, program) in programs(&convert(options)) {
            assert_eq!(proto::decode(proto::encode(&program)).expect("decodable"), program, "{stem}");
            let printed = text::print(&program, TextVersion::V1_3).expect("printable");
            let parsed = text::parse(&printed).expect("parsable").program;
            assert_eq!(text::print(&parsed, TextVersion::V1_3).expect("printable"), printed, "{stem}");
        }
    }
}

#[test]
fn models_encode_to_the_bytes_that_were_written() {
    let converted = convert(&["--lut", "6"]);
    for part in ModelDirectory::open(&converted.output).expect("converted").parts() {
        let bytes = part.open().expect("written").message_bytes().expect("readable").expect("a package");
        let model = decode_model(&bytes).expect("valid");
        assert!(encode_model(&model).expect("encodable") == bytes, "{}", part.stem);
    }
}

#[test]
fn both_functions_of_a_chunk_share_their_weights() {
    let converted = convert(&["--lut", "4", "--chunks", "1"]);
    let (_, chunk) = programs(&converted).into_iter().find(|(stem, _)| stem.contains("chunk")).expect("a chunk");
    let projections = |function: &str| -> Vec<String> {
        let text = text::print(&chunk, TextVersion::V1_3).expect("printable");
        let start = text.find(&format!("func {function}<")).expect("there");
        let body = text[start..].split_once("} -> (").expect("ends").0;
        let palettes = body.lines().filter(|line| line.contains("constexpr_lut_to_dense"));
        palettes.map(|line| line.trim().to_owned()).collect()
    };
    let (infer, prefill) = (projections("infer"), projections("prefill"));
    // Prefill leaves out the last layer's MLP, which nobody reads.
    assert_eq!(infer.len(), 28);
    assert_eq!(prefill.len(), 25);
    assert!(prefill.iter().all(|weight| infer.contains(weight)), "the same blobs at the same offsets");
}

#[test]
fn the_functions_have_the_inputs_that_clients_feed() {
    let converted = convert(&["--chunks", "2", "--context-length", "256", "--batch-size", "32"]);
    let programs = programs(&converted);
    let chunk = |number: &str| &programs.iter().find(|(stem, _)| stem.contains(number)).expect("a chunk").1;
    let fp16 = |shape: &[u64]| ValueType::Tensor(TensorType::fixed(DataType::Float16, shape));
    let int32 = |shape: &[u64]| ValueType::Tensor(TensorType::fixed(DataType::Int32, shape));
    for number in ["01of02", "02of02"] {
        for (function, tokens) in [("infer", 1), ("prefill", 32)] {
            let inputs = &chunk(number).functions[function].inputs;
            let found: Vec<(&str, &ValueType)> = inputs.iter().map(|input| (input.name.as_str(), &input.ty)).collect();
            let state = ValueType::State(TensorType::fixed(DataType::Float16, &[8, 2, 256, 64]));
            assert_eq!(
                found,
                [
                    ("hidden_states", &fp16(&[1, tokens, 256])),
                    ("position_ids", &int32(&[tokens])),
                    ("causal_mask", &fp16(&[1, 1, tokens, 256])),
                    ("current_pos", &int32(&[1])),
                    ("model_model_kv_cache_0", &state),
                ]
            );
        }
    }
}
