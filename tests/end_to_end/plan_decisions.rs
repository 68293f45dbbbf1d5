//! What a plan decides does not change what a model computes: converted directories are run by the reference engine.
#![expect(clippy::print_stdout, reason = "figures for those who run it with --nocapture")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_converter::cli::Cli;
use anec_converter::commands;
use anec_mil::evaluate::{Accumulator, Numerics};
use anec_runtime::ModelDirectory;
use anec_runtime::backend::{ReferenceBackend, ReferenceOptions};
use anec_runtime::session::{Output, Session};
use clap::Parser as _;
use tempfile::TempDir;

use crate::checkpoint;

/// The shipped checkpoint.
pub(crate) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny-qwen3")
}

fn convert(checkpoint: &Path, output: &Path, options: &[&str]) {
    let mut arguments =
        vec!["anec", "convert", "--quiet", "--calibration", "none", "-o", output.to_str().expect("UTF-8")];
    arguments.push(checkpoint.to_str().expect("UTF-8"));
    arguments.extend(options);
    assert_eq!(commands::run(Cli::parse_from(&arguments)), ExitCode::SUCCESS, "{arguments:?}");
}

pub(crate) fn converted(checkpoint: &Path, options: &[&str]) -> TempDir {
    let parent = tempfile::tempdir().expect("a temporary directory");
    convert(checkpoint, &parent.path().join("out"), options);
    parent
}

pub(crate) fn session(directory: &Path, numerics: Numerics) -> Box<dyn Session> {
    let directory = ModelDirectory::open(directory).expect("converted");
    let backend = ReferenceBackend::new(ReferenceOptions { numerics, ..ReferenceOptions::default() });
    directory.session(&backend).expect("usable")
}

/// The logits after every token, fed one by one.
pub(crate) fn logits(directory: &Path, tokens: &[u32], numerics: Numerics) -> Vec<Vec<f32>> {
    let mut session = session(directory, numerics);
    let step = |(position, token): (usize, &u32)| session.infer(*token, position).and_then(Output::into_logits);
    tokens.iter().enumerate().map(step).collect::<Result<_, _>>().expect("inside of the context")
}

/// The largest difference of two logits, and the largest logit.
pub(crate) fn difference(left: &[Vec<f32>], right: &[Vec<f32>]) -> (f32, f32) {
    assert_eq!(left.iter().map(Vec::len).collect::<Vec<_>>(), right.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs = || left.iter().flatten().zip(right.iter().flatten());
    let largest = pairs().map(|(left, _)| left.abs()).fold(0.0, f32::max);
    (pairs().map(|(left, right)| (left - right).abs()).fold(0.0, f32::max), largest)
}

pub(crate) fn tokens(count: u32, vocab_size: u32) -> Vec<u32> {
    (0..count).map(|index| (index * 7919 + 5) % vocab_size).collect()
}

fn convolutions(directory: &Path) -> usize {
    let directory = ModelDirectory::open(directory).expect("converted");
    let models = directory.parts().iter().map(|part| part.open().expect("written").model().expect("valid"));
    let functions = models.flat_map(|model| model.program.functions.into_values());
    functions.map(|function| function.block.operations.iter().filter(|operation| operation.op == "conv").count()).sum()
}

/// A model whose `gate_proj`, `up_proj` and `down_proj` are on the notch with 1 MiB per core, as is its head of one part.
const ON_THE_NOTCH: &str = r#"{
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 8192,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 8192,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true
}"#;

/// Writes a checkpoint for [`ON_THE_NOTCH`] whose weights are anything, but always the same.
fn write_checkpoint(directory: &Path) {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![8192, 1024]),
        ("model.norm.weight".to_owned(), vec![1024]),
        (layer("input_layernorm"), vec![1024]),
        (layer("post_attention_layernorm"), vec![1024]),
        (layer("self_attn.q_proj"), vec![128, 1024]),
        (layer("self_attn.k_proj"), vec![64, 1024]),
        (layer("self_attn.v_proj"), vec![64, 1024]),
        (layer("self_attn.o_proj"), vec![1024, 128]),
        (layer("mlp.gate_proj"), vec![8192, 1024]),
        (layer("mlp.up_proj"), vec![8192, 1024]),
        (layer("mlp.down_proj"), vec![1024, 8192]),
    ];
    checkpoint::write(directory, ON_THE_NOTCH, &tensors);
}

#[test]
fn split_convolutions_give_the_logits_of_whole_ones() {
    let checkpoint = tempfile::tempdir().expect("a temporary directory");
    write_checkpoint(checkpoint.path());
    let options = ["--context-length", "32", "--batch-size", "8", "--lm-head-splits", "1", "--conv-splits"];
    let [split, whole] =
        ["auto", "none"].map(|splits| converted(checkpoint.path(), &[&options[..], &[splits]].concat()));
    let [split, whole] = [&split, &whole].map(|directory| directory.path().join("out"));
    // Whole: 7 in `infer`, 4 in `prefill`, which has no MLP, and the head; split: 2 for each of gate, up, down and head.
    assert_eq!((convolutions(&whole), convolutions(&split)), (12, 16));
    let tokens = tokens(8, 8192);
    for (numerics, limit) in [(Numerics::F32, 2e-5), (Numerics::Fp16(Accumulator::default()), 5e-3)] {
        let (difference, largest) = difference(&logits(&whole, &tokens, numerics), &logits(&split, &tokens, numerics));
        println!("{numerics:?}: largest difference {difference:e} of logits up to {largest}");
        assert!(difference <= limit * largest, "{numerics:?}: {difference} of {largest}");
    }
}

#[test]
fn functions_cache_writes_and_head_splits_do_not_change_the_logits() {
    const LIMIT: f32 = 1e-4;
    let base = ["--context-length", "32", "--batch-size", "8"];
    let tokens = tokens(32, 2048);
    let plain = converted(&shipped(), &base);
    let expected = logits(&plain.path().join("out"), &tokens, Numerics::F32);
    for options in [
        &["--kv", "mask"][..],
        &["--functions", "single", "--query-length", "8"],
        &["--functions", "single", "--query-length", "5", "--kv", "mask"],
        &["--functions", "single", "--query-length", "1"],
        &["--lm-head-splits", "1"],
        &["--lm-head-splits", "3"],
        &["--chip", "m4", "--chunks", "2"],
        &["--target", "macos15-gpu"],
    ] {
        let directory = converted(&shipped(), &[&base, options].concat());
        let found = logits(&directory.path().join("out"), &tokens, Numerics::F32);
        let (difference, largest) = difference(&expected, &found);
        println!("{options:?}: largest difference {difference:e} of logits up to {largest}");
        assert!(difference <= LIMIT * largest, "{options:?}: {difference} of {largest}");
    }
}

#[test]
fn a_single_function_takes_prompts_of_any_length_at_once() {
    let base = ["--context-length", "32", "--functions", "single", "--query-length", "8"];
    let directory = converted(&shipped(), &base);
    let tokens = tokens(32, 2048);
    let expected = logits(&directory.path().join("out"), &tokens, Numerics::F32);
    // 32 ends at the end of the context, where there is no room for rows without a token.
    for length in [1, 7, 8, 9, 27, 32] {
        let mut session = session(&directory.path().join("out"), Numerics::F32);
        let output = session.feed(&tokens[..length], 0).expect("inside of the context").expect("tokens");
        let found = output.into_logits().expect("logits");
        let (difference, largest) = difference(&expected[length - 1..length], &[found]);
        assert!(difference <= 1e-5 * largest, "{length}: {difference} of {largest}");
    }
}

#[test]
fn context_lengths_share_weight_files_and_agree() {
    let directory = converted(&shipped(), &["--context-length", "32,128,64", "--batch-size", "8", "--lut", "6"]);
    let tokens = tokens(20, 2048);
    let sets = [128, 64, 32].map(|length| directory.path().join(format!("out/context_{length}")));
    let [expected, others @ ..] = sets.each_ref().map(|set| logits(set, &tokens, Numerics::F32));
    for found in others {
        let (difference, largest) = difference(&expected, &found);
        assert!(difference <= 1e-5 * largest, "{difference} of {largest}");
    }
    let names = |set: &Path| -> Vec<PathBuf> {
        let parts = ModelDirectory::open(set).expect("converted");
        let packages = parts.parts().iter().filter_map(|part| part.package.clone());
        packages.map(|package| package.join("Data/com.apple.CoreML/weights/weight.bin")).collect()
    };
    for (long, short) in names(&sets[0]).iter().zip(&names(&sets[2])) {
        assert!(fs::read(long).expect("there") == fs::read(short).expect("there"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let inode = |path: &Path| fs::metadata(path).expect("there").ino();
            assert_eq!(inode(long), inode(short));
        }
    }
}
