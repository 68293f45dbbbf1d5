use fs_err as fs;
use serde_json::json;
use tempfile::TempDir;

use crate::error::Hint as _;
use crate::source::checkpoint::testing::{Source, write_config, write_tensors};
use crate::source::checkpoint::{Checkpoint, CheckpointError};
use crate::source::config::ConfigError;

fn source(name: &str, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Source {
    Source { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn checkpoint(quantization: &serde_json::Value, tensors: &[Source]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write_config(directory.path(), &json!({"model_type": "llama", "quantization_config": quantization}).to_string());
    write_tensors(&directory.path().join("model.safetensors"), tensors);
    directory
}

fn rows(directory: &TempDir, rows: std::ops::Range<usize>) -> Vec<f32> {
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    assert!(checkpoint.config_json().get("quantization_config").is_none());
    assert!(!checkpoint.is_plain());
    let mut out = Vec::new();
    checkpoint.rows_f32("a.weight", rows, &mut out).expect("rows");
    checkpoint.release("a.weight");
    out
}

fn error(directory: &TempDir) -> CheckpointError {
    Checkpoint::open(directory.path()).expect_err("refused")
}

/// Eight inputs and eight outputs of four bits: the code of input i and output o is `(i + o) % 16`, the zeros are 8.
fn gptq(stored_zero: u32, order: Option<&[u32]>) -> Vec<Source> {
    let word = |output: u32| (0..8).map(|input| ((input + output) % 16) << (4 * input)).sum();
    let codes: Vec<u32> = (0..8).map(word).collect();
    let zeros: u32 = (0..8).map(|output| stored_zero << (4 * output)).sum();
    let mut tensors = vec![
        source("a.qweight", "I32", &[1, 8], words(&codes)),
        source("a.qzeros", "I32", &[2, 1], words(&[zeros, zeros])),
        Source::f32("a.scales", &[2, 8], &[[0.5; 8], [2.0; 8]].concat()),
    ];
    tensors.extend(order.map(|order| source("a.g_idx", "I32", &[8], words(order))));
    tensors
}

#[test]
fn gptq_groups_follow_the_order_of_the_inputs() {
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": 4});
    let expected = |row: usize, scale: [f32; 8]| -> Vec<f32> {
        let code = |input: usize| f32::from(u8::try_from((input + row) % 16).expect("a code"));
        (0..8).map(|input| (code(input) - 8.0) * scale[input]).collect()
    };
    let directory = checkpoint(&config, &gptq(7, None));
    let halves = [0.5, 0.5, 0.5, 0.5, 2.0, 2.0, 2.0, 2.0];
    assert_eq!(rows(&directory, 3..5), [expected(3, halves), expected(4, halves)].concat());
    let directory = checkpoint(&config, &gptq(7, Some(&[1, 0, 1, 0, 1, 0, 1, 0])));
    let mixed = [2.0, 0.5, 2.0, 0.5, 2.0, 0.5, 2.0, 0.5];
    assert_eq!(rows(&directory, 0..1), expected(0, mixed));
    let config = json!({"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"});
    assert_eq!(rows(&checkpoint(&config, &gptq(8, None)), 7..8), expected(7, halves));
}

#[test]
fn a_group_that_is_not_there_is_an_error_and_no_panic() {
    let config = json!({"quant_method": "gptq", "bits": 4});
    let directory = checkpoint(&config, &gptq(7, Some(&[0, 1, 2, u32::MAX, 0, 0, 0, 0])));
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    let error = checkpoint.rows_f32("a.weight", 0..1, &mut Vec::new()).expect_err("no such group");
    assert!(matches!(&error, CheckpointError::Undecodable { tensor, .. } if tensor == "a.weight"), "{error}");
}

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named() {
    let config = json!({"quant_method": "gptq", "bits": 4});
    let mut tensors = gptq(7, None);
    tensors.retain(|tensor| tensor.name != "a.qzeros");
    let missing = error(&checkpoint(&config, &tensors));
    assert!(missing.to_string().contains("`a.qzeros`: expected a tensor, found nothing"), "{missing}");
    tensors.push(source("a.qzeros", "I32", &[3, 1], words(&[0, 0, 0])));
    let wrong = error(&checkpoint(&config, &tensors));
    assert!(wrong.to_string().contains("expected 2 elements"), "{wrong}");
    let plain = error(&checkpoint(&config, &[Source::zeros("a.weight", &[8, 8])]));
    assert!(plain.to_string().contains("GPTQ") && plain.hint().is_some(), "{plain}");
}

#[test]
fn ways_that_are_not_known_are_refused_by_name() {
    for (config, expected) in [
        (json!({"quant_method": "aqlm"}), "aqlm"),
        (json!({"quant_method": "gptq", "bits": 3}), "2, 4 or 8"),
        (json!({"quant_method": "awq", "bits": 4, "version": "gemv"}), "gemv"),
        (json!({"bits": 4, "group_size": 32, "mode": "mxfp4"}), "mxfp4"),
        (json!({"quant_method": "compressed-tensors", "format": "marlin-24"}), "marlin-24"),
    ] {
        let error = error(&checkpoint(&config, &[Source::zeros("a.weight", &[8, 8])]));
        assert!(matches!(
            error,
            CheckpointError::Config(ConfigError::Quantized { .. } | ConfigError::Quantization { .. })
        ));
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn mlx_scales_and_biases_belong_to_groups_of_columns() {
    // Four bits: the codes 0 to 7 in one word, 8 to 15 in the next, for each of two rows.
    let row = [0x7654_3210, 0xfedc_ba98, 0x7654_3210, 0xfedc_ba98];
    let tensors = [
        source("a.weight", "U32", &[2, 8], words(&[row, row, row, row].concat())),
        Source::f32("a.scales", &[2, 2], &[1.0, 2.0, 0.5, 4.0]),
        Source::f32("a.biases", &[2, 2], &[0.0, -1.0, 1.0, 0.0]),
    ];
    let directory = checkpoint(&json!({"group_size": 32, "bits": 4}), &tensors);
    let out = rows(&directory, 1..2);
    assert_eq!(out.len(), 64);
    assert_eq!((out[0], out[3], out[31], out[32], out[63]), (1.0, 2.5, 8.5, 0.0, 60.0));
}

#[test]
fn fp8_blocks_at_the_edges_are_short() {
    // One in FP8 everywhere; three rows and five columns in blocks of two.
    let config = json!({"quant_method": "fp8", "weight_block_size": [2, 2]});
    let scales: Vec<f32> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].to_vec();
    let tensors = [
        source("a.weight", "F8_E4M3", &[3, 5], vec![0x38; 15]),
        Source::f32("a.weight_scale_inv", &[2, 3], &scales),
        Source::zeros("a.input_scale", &[1]),
    ];
    let directory = checkpoint(&config, &tensors);
    assert_eq!(rows(&directory, 1..3), [1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), ["a.weight"]);
}

#[test]
fn the_config_beside_the_result_says_nothing_of_the_quantization() {
    let directory = checkpoint(&json!({"quant_method": "gptq", "bits": 4}), &gptq(7, None));
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    let output = tempfile::tempdir().expect("a temporary directory");
    crate::output::companions::copy(&checkpoint, output.path()).expect("copied");
    let text = fs::read_to_string(output.path().join("config.json")).expect("written");
    assert!(text.contains("llama") && !text.contains("quantization"), "{text}");
}
