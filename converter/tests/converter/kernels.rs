//! Kernels of published models, against what their authors compiled.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::options::{ConvSplits, Count, Options};
use anec_converter::plan::{ConversionPlan, FilePlan};
use anec_mil::rules::notch;
use anec_mil::{NamedValueType, ValueType};

/// What maderix/ANE's pull request 26 compiles of Qwen2.5-0.5B: role, how many, channels in and out, bytes of the fp16 weight.
const PUBLISHED: [(&str, usize, u64, u64, u64); 8] = [
    ("q_proj", 24, 896, 896, 1_605_632),
    ("k_proj", 24, 896, 128, 229_376),
    ("v_proj", 24, 896, 128, 229_376),
    ("o_proj", 24, 896, 896, 1_605_632),
    ("gate_proj", 24, 896, 4864, 8_716_288),
    ("up_proj", 24, 896, 4864, 8_716_288),
    ("down_proj", 24, 4864, 896, 8_716_288),
    ("lm_head", 16, 896, 9496, 17_016_832),
];

fn plan(config: &str, options: Options) -> ConversionPlan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(config);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let decoder = arch::plan(ArchChoice::Auto, json.as_object().unwrap(), &[]).unwrap();
    ConversionPlan::new(decoder, options).unwrap()
}

fn options() -> Options {
    Options { layout: "kernels", batch_size: 32, ..Options::default() }
}

fn shape(value: &NamedValueType) -> Vec<u64> {
    match &value.ty {
        ValueType::Tensor(ty) => ty.fixed_shape().unwrap(),
        other => panic!("{other}"),
    }
}

/// Input and outputs of a kernel.
fn channels(file: &FilePlan) -> (Vec<u64>, Vec<Vec<u64>>) {
    let function = &file.program().functions["main"];
    let made: BTreeMap<&str, &NamedValueType> = function
        .block
        .operations
        .iter()
        .flat_map(|operation| &operation.outputs)
        .map(|output| (output.name.as_str(), output))
        .collect();
    (shape(&function.inputs[0]), function.block.outputs.iter().map(|name| shape(made[name.as_str()])).collect())
}

#[test]
fn qwen_is_cut_into_the_published_kernels() {
    let sixteen = Count::Exactly(NonZeroU32::new(16).unwrap());
    let plan =
        plan("qwen2.5-0.5b.json", Options { lm_head_splits: sixteen, conv_splits: ConvSplits::None, ..options() });
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for (role, count, input, output, bytes) in PUBLISHED {
        let files: Vec<&FilePlan> = plan.files.iter().filter(|file| file.label.role.0 == role).collect();
        assert_eq!(files.len(), count, "{role}");
        for file in files {
            // The published ones have one live column; the last axis is 32 here.
            assert_eq!(channels(file), (vec![1, input, 1, 32], vec![vec![1, output, 1, 32]]), "{role}");
            // Q, K and V have their bias in the same file, of two bytes a channel; theirs is added on the CPU.
            let bias = if ["q_proj", "k_proj", "v_proj"].contains(&role) { 2 * output } else { 0 };
            assert_eq!(file.checkpoint_bytes() - bias, bytes, "{role}");
            *found.entry(role).or_default() += 1;
        }
    }
    // The README says 169, and its program compiles these.
    assert_eq!(found.values().sum::<usize>(), 184);
    // Embeddings and norms are files too; there they are in the flat file of the client.
    assert_eq!(plan.files.len(), 186);
}

#[test]
fn the_head_is_split_off_the_sizes_that_read_slowly() {
    let plan = plan("qwen2.5-0.5b.json", options());
    let heads: Vec<&FilePlan> = plan.files.iter().filter(|file| file.label.role.0 == "lm_head").collect();
    assert_eq!(heads.len(), 32, "16 parts of 9496 rows would be at the edge of a slow size");
    for head in heads {
        let (input, outputs) = channels(head);
        assert_eq!((input[1], outputs[0][1]), (896, 4748));
        assert!(notch::is_clear(notch::payload_bytes(4748, 896, 1, 16), plan.options.chip));
    }
}

#[test]
fn projections_that_share_an_input_are_one_program_where_asked_for() {
    let plan = plan("qwen2.5-0.5b.json", Options { fuse: true, ..options() });
    let count = |role: &str| plan.files.iter().filter(|file| file.label.role.0 == role).count();
    assert_eq!([count("qkv_proj"), count("o_proj"), count("gate_up_proj"), count("down_proj")], [24; 4]);
    let qkv = plan.files.iter().find(|file| file.label.role.0 == "qkv_proj").unwrap();
    let function = &qkv.program().functions["main"];
    assert_eq!(function.block.outputs, ["k", "q", "v"], "in alphabetical order, in which they are bound");
    assert_eq!(channels(qkv).1, [[1, 128, 1, 32], [1, 896, 1, 32], [1, 128, 1, 32]].map(Vec::from));
}

#[test]
fn what_kernels_cannot_hold_is_refused_with_a_reason() {
    let refused = |config: &str, options: Options| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(config);
        let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let decoder = arch::plan(ArchChoice::Auto, json.as_object().unwrap(), &[]).unwrap();
        ConversionPlan::new(decoder, options).err().expect("refused").to_string()
    };
    let wide = refused("qwen2.5-7b.json", options());
    assert!(wide.contains("a projection of 18944 channels is one program, and generic takes 16384"), "{wide}");
    let columns = refused("qwen2.5-0.5b.json", Options { batch_size: 24, ..options() });
    assert_eq!(columns, "Cannot use `--query-length 24`: the layout `kernels` has calls of 16, 32, 64 columns");
}
