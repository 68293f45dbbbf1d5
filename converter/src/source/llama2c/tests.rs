use std::path::PathBuf;

use fs_err as fs;
use tempfile::TempDir;

use super::*;
use crate::error::{Hint as _, render};
use crate::model::arch::{self, ArchChoice};

const DIM: usize = 8;
const HIDDEN: usize = 12;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const KV_HEADS: usize = 1;
const VOCABULARY: usize = 5;
const POSITIONS: usize = 16;
const HEAD_DIM: usize = DIM / HEADS;

/// Kinds of weights in the order of version 0, with the elements of one.
const KINDS: [(&str, usize); 11] = [
    ("embedding", VOCABULARY * DIM),
    ("attention_norm", DIM),
    ("wq", DIM * DIM),
    ("wk", KV_HEADS * HEAD_DIM * DIM),
    ("wv", KV_HEADS * HEAD_DIM * DIM),
    ("wo", DIM * DIM),
    ("ffn_norm", DIM),
    ("w1", HIDDEN * DIM),
    ("w2", HIDDEN * DIM),
    ("w3", HIDDEN * DIM),
    ("norm", DIM),
];

/// The order of version 1.
const ORDER_1: [&str; 11] =
    ["attention_norm", "ffn_norm", "norm", "embedding", "wq", "wk", "wv", "wo", "w1", "w2", "w3"];

/// Elements of a kind in a layer: each weight has numbers of its own, the same in both versions.
fn elements(kind: &str, layer: usize) -> Vec<f32> {
    let index = KINDS.iter().position(|(name, _)| *name == kind).unwrap_or(KINDS.len());
    let count = KINDS.get(index).map_or(VOCABULARY * DIM, |(_, count)| *count);
    let number = |element: usize| u16::try_from(1000 * index + 300 * layer + element).expect("small");
    (0..count).map(|element| f32::from(number(element)) / 16.0).collect()
}

fn file(version: u8, is_tied: bool) -> Vec<u8> {
    let number = |size: usize| i32::try_from(size).expect("small");
    let vocabulary = if is_tied || version == 1 { number(VOCABULARY) } else { -number(VOCABULARY) };
    let sizes = [DIM, HIDDEN, LAYERS, HEADS, KV_HEADS].map(number);
    let numbers = sizes.into_iter().chain([vocabulary, number(POSITIONS)]);
    let mut bytes: Vec<u8> = Vec::new();
    if version == 1 {
        bytes.extend(*b"24ka");
        bytes.extend(1_i32.to_le_bytes());
    }
    bytes.extend(numbers.flat_map(i32::to_le_bytes));
    if version == 1 {
        bytes.push(u8::from(is_tied));
        bytes.resize(256, 0);
    }
    let order: Vec<&str> = if version == 1 { ORDER_1.to_vec() } else { KINDS.map(|(name, _)| name).to_vec() };
    for kind in order {
        let layers = if ["embedding", "norm"].contains(&kind) { 1 } else { LAYERS };
        bytes.extend((0..layers).flat_map(|layer| elements(kind, layer)).flat_map(f32::to_le_bytes));
    }
    if version == 0 {
        bytes.extend(vec![0; 4 * POSITIONS * HEAD_DIM]);
    }
    if !is_tied {
        bytes.extend(elements("classifier", 0).into_iter().flat_map(f32::to_le_bytes));
    }
    bytes
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.bin");
    fs::write(&path, bytes).expect("written");
    (directory, path)
}

fn rows(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let count = checkpoint.tensor(name).expect("there").shape[0];
    let mut rows = Vec::new();
    checkpoint.rows_f32(name, 0..count, &mut rows).expect("rows");
    rows
}

#[test]
fn both_versions_have_the_tensors_of_transformers() {
    for (version, is_tied) in [(0, true), (0, false), (1, true), (1, false)] {
        let (_directory, path) = written(&file(version, is_tied));
        let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
        let (plan, unread) = arch::plan_and_unread(
            ArchChoice::Auto,
            checkpoint.config_json(),
            &[],
            crate::source::config::UnknownKeys::Refuse,
        )
        .expect("a Llama");
        assert!(unread.is_empty());
        assert_eq!((plan.num_key_value_heads, plan.head_dim, plan.tie_word_embeddings), (KV_HEADS, HEAD_DIM, is_tied));
        assert_eq!(checkpoint.tensor_names().count(), 2 + 9 * LAYERS + usize::from(!is_tied));
        for (kind, layer, name) in [
            ("embedding", 0, "model.embed_tokens.weight"),
            ("attention_norm", 1, "model.layers.1.input_layernorm.weight"),
            ("wv", 1, "model.layers.1.self_attn.v_proj.weight"),
            ("wo", 0, "model.layers.0.self_attn.o_proj.weight"),
            ("ffn_norm", 1, "model.layers.1.post_attention_layernorm.weight"),
            ("w1", 1, "model.layers.1.mlp.gate_proj.weight"),
            ("w2", 0, "model.layers.0.mlp.down_proj.weight"),
            ("w3", 1, "model.layers.1.mlp.up_proj.weight"),
            ("norm", 0, "model.norm.weight"),
        ] {
            assert_eq!(rows(&checkpoint, name), elements(kind, layer), "{name} of version {version}");
        }
        assert_eq!(checkpoint.tensor("lm_head.weight").is_none(), is_tied);
        if !is_tied {
            assert_eq!(rows(&checkpoint, "lm_head.weight"), elements("classifier", 0));
        }
    }
}

#[test]
fn the_two_channels_of_a_pair_are_half_a_head_apart() {
    let (_directory, path) = written(&file(0, true));
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let (found, stored) = (rows(&checkpoint, "model.layers.0.self_attn.q_proj.weight"), elements("wq", 0));
    let order = found.chunks(DIM).map(|row| stored.chunks(DIM).position(|other| other == row));
    assert_eq!(order.collect::<Option<Vec<_>>>().expect("rows of the file"), [0, 2, 1, 3, 4, 6, 5, 7]);
    // Some rows are those among all.
    let mut some = Vec::new();
    checkpoint.rows_f32("model.layers.0.self_attn.q_proj.weight", 1..3, &mut some).expect("rows");
    assert_eq!(some, found[DIM..3 * DIM]);
}

#[test]
fn the_tokenizer_beside_the_weights_is_taken_and_its_absence_explained() {
    let (directory, path) = written(&file(0, true));
    fs::write(directory.path().join("tokenizer.bin"), [0; 8]).expect("written");
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    assert!(checkpoint.notes().warnings[0].contains("tokenizer.bin"), "{:?}", checkpoint.notes());
    assert_eq!(checkpoint.config_json()["bos_token_id"], 1);
    assert_eq!(checkpoint.companion("tokenizer.json").expect("readable"), None);

    fs::write(directory.path().join("tokenizer.json"), "{}").expect("written");
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    assert!(checkpoint.notes().warnings.is_empty());
    assert!(!checkpoint.config_json().contains_key("bos_token_id"));
    let copy = checkpoint.companion("tokenizer.json").expect("readable").expect("there");
    assert_eq!(fs::read_to_string(copy).expect("there"), "{}");
}

#[test]
fn files_that_are_none_are_named() {
    let cut = |bytes: &[u8], less: usize| bytes[..bytes.len() - less].to_vec();
    let whole = file(0, true);
    let mut version_2 = file(1, true);
    version_2[4] = 2;
    let mut odd = whole.clone();
    odd[12..16].copy_from_slice(&3_i32.to_le_bytes());
    let mut huge = whole.clone();
    huge[..12].copy_from_slice(&[(1_i32 << 20).to_le_bytes(); 3].concat());
    for (bytes, message, hint) in [
        (cut(&whole, 4), "bytes by the header, the file has", "incomplete"),
        (cut(&file(1, false), 4), "bytes by the header, the file has", "incomplete"),
        (whole[..20].to_vec(), "expected 24 bytes by the header, the file has 20", "incomplete"),
        (Vec::new(), "expected 4 bytes by the header, the file has 0", "incomplete"),
        (version_2, "expected version 0 or 1 of the format, found 2", "--version 1"),
        (odd, "8 channels have 3 heads of queries and 1 of keys", "safetensors"),
        (huge, "bytes by the header", "incomplete"),
        (b"PK\x03\x04archive/data.pkl....................".to_vec(), "a zip archive, as PyTorch", "safetensors"),
        (vec![0; 64], "`dim` is 0, expected 1 to", "safetensors"),
    ] {
        let (_directory, path) = written(&bytes);
        let error = Checkpoint::open(&path).expect_err("no checkpoint");
        assert!(render(&error).contains(message), "{}", render(&error));
        assert!(error.hint().is_some_and(|found| found.contains(hint)), "{:?}", error.hint());
    }
}
