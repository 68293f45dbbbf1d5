use std::fmt::Write as _;
use std::path::PathBuf;

use fs_err as fs;
use half::f16;
use tempfile::TempDir;

use super::*;
use crate::error::{Hint as _, render};
use crate::model::arch::{self, ArchChoice};
use crate::source::config::ConfigError;

/// Writes the parts of a GGUF, as its documentation has them.
#[derive(Default)]
struct Writer {
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Writer {
    fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.extend([string(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat());
        self.key_count += 1;
        self
    }

    fn size(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    fn float(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &string(value))
    }

    fn list(self, key: &str, element: u32, elements: &[Vec<u8>]) -> Self {
        let head = [&element.to_le_bytes()[..], &(elements.len() as u64).to_le_bytes()].concat();
        self.raw(key, 9, &[head, elements.concat()].concat())
    }

    /// `shape` is that of transformers.
    fn tensor(mut self, name: &str, shape: &[u64], kind: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind, bytes));
        self
    }

    fn f32s(self, name: &str, shape: &[u64], value: impl Fn(u64) -> f32) -> Self {
        let count = shape.iter().product();
        let bytes = (0..count).flat_map(|index| value(index).to_le_bytes()).collect();
        self.tensor(name, shape, 0, bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = [b"GGUF".as_slice(), &3_u32.to_le_bytes()].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend(self.key_count.to_le_bytes());
        file.extend(&self.keys);
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            file.extend(string(name));
            file.extend(u32::try_from(shape.len()).expect("few axes").to_le_bytes());
            file.extend(shape.iter().rev().flat_map(|size| size.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }

    fn write(&self) -> (TempDir, PathBuf) {
        written(&self.bytes())
    }
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("tiny.gguf");
    fs::write(&path, bytes).expect("a file");
    (directory, path)
}

fn error(bytes: &[u8]) -> CheckpointError {
    let (_directory, path) = written(bytes);
    Checkpoint::open(&path).expect_err("a file that is refused")
}

const HIDDEN: u64 = 32;
const HEAD: u64 = 8;

/// A model of one layer with four heads and two key heads of eight channels.
fn model(architecture: &str) -> Writer {
    let key = |name: &str| format!("{architecture}.{name}");
    let value = |index: u64| f32::from(u16::try_from(index).expect("a small tensor")) / 64.0;
    let mut file = Writer::default()
        .text("general.architecture", architecture)
        .size(&key("embedding_length"), 32)
        .size(&key("block_count"), 1)
        .size(&key("feed_forward_length"), 48)
        .size(&key("context_length"), 128)
        .size(&key("attention.head_count"), 4)
        .size(&key("attention.head_count_kv"), 2)
        .size(&key("attention.key_length"), 8)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-5)
        .float(&key("rope.freq_base"), 5e5)
        .f32s("token_embd.weight", &[40, HIDDEN], value)
        .f32s("output_norm.weight", &[HIDDEN], value);
    let shapes: [(&str, &[u64]); 9] = [
        ("attn_norm", &[HIDDEN]),
        ("attn_q", &[HIDDEN, HIDDEN]),
        ("attn_k", &[16, HIDDEN]),
        ("attn_v", &[16, HIDDEN]),
        ("attn_output", &[HIDDEN, HIDDEN]),
        ("ffn_norm", &[HIDDEN]),
        ("ffn_gate", &[48, HIDDEN]),
        ("ffn_up", &[48, HIDDEN]),
        ("ffn_down", &[HIDDEN, 48]),
    ];
    for (name, shape) in shapes {
        file = file.f32s(&format!("blk.0.{name}.weight"), shape, value);
    }
    file
}

fn rows(checkpoint: &Checkpoint, name: &str, rows: std::ops::Range<usize>) -> Vec<f32> {
    let mut wide = Vec::new();
    checkpoint.rows_f32(name, rows.clone(), &mut wide).expect("rows");
    let mut narrow = Vec::new();
    checkpoint.rows_f16(name, rows, &mut narrow).expect("rows");
    assert_eq!(narrow, wide.iter().map(|value| f16::from_f32(*value)).collect::<Vec<_>>());
    wide
}

#[test]
fn a_llama_has_the_config_and_the_tensors_of_transformers() {
    let (_directory, path) = model("llama").write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let plan = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]).expect("a config");
    assert_eq!((plan.hidden_size, plan.num_hidden_layers, plan.vocab_size), (32, 1, 40));
    assert_eq!((plan.num_attention_heads, plan.num_key_value_heads, plan.head_dim), (4, 2, 8));
    assert!(plan.tie_word_embeddings);
    assert_eq!(checkpoint.config_json().get("rms_norm_eps"), Some(&serde_json::json!(1e-5)));
    // transformers turns the halves of a head against each other, llama.cpp neighbouring channels.
    let queries = rows(&checkpoint, "model.layers.0.self_attn.q_proj.weight", 0..32);
    for row in 0..32_usize {
        let (head, within) = (row / 8, row % 8);
        let stored = head * 8 + 2 * (within % 4) + within / 4;
        let expected = f32::from(u16::try_from(stored * 32).expect("small")) / 64.0;
        assert_eq!(queries[row * 32], expected, "{row}");
    }
    let part = rows(&checkpoint, "model.layers.0.self_attn.q_proj.weight", 9..11);
    assert_eq!(part, queries[9 * 32..11 * 32]);
    checkpoint.release("model.layers.0.self_attn.q_proj.weight");
    assert_eq!(rows(&checkpoint, "model.layers.0.self_attn.q_proj.weight", 9..11), part);
    let values = rows(&checkpoint, "model.layers.0.self_attn.v_proj.weight", 1..2);
    assert_eq!(values[0], 0.5);
    assert_eq!(u64::try_from(values.len()), Ok(4 * HEAD));
    let found = checkpoint.notes().found.clone().unwrap_or_default();
    assert_eq!(found, "a GGUF of the architecture `llama`, tensors: 11 F32");
}

#[test]
fn norms_of_gemma_lose_what_was_added_to_them() {
    let (_directory, path) = model("gemma3").write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    assert_eq!(rows(&checkpoint, "model.norm.weight", 0..2), [-1.0, 1.0 / 64.0 - 1.0]);
    assert_eq!(rows(&checkpoint, "model.layers.0.pre_feedforward_layernorm.weight", 0..1), [-1.0]);
    assert_eq!(rows(&checkpoint, "model.embed_tokens.weight", 0..1)[0], 0.0);
}

#[test]
fn blocks_are_decoded_row_by_row_wherever_they_lie() {
    // A block of Q8_0 is a scale in fp16 and 32 bytes.
    let block = |scale: f32, first: i8| {
        let bytes = (0..32).map(|index: i8| (first + index).to_le_bytes()[0]);
        f16::from_f32(scale).to_le_bytes().into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    let blocks = [block(0.5, 0), block(2.0, -16), block(1.0, 1)].concat();
    let mut file = model("qwen2");
    file.tensors.retain(|(name, ..)| name != "blk.0.attn_v.weight");
    let (_directory, path) = file.tensor("blk.0.attn_v.weight", &[3, 32], 8, blocks).write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let name = "model.layers.0.self_attn.v_proj.weight";
    assert_eq!(rows(&checkpoint, name, 0..1)[..3], [0.0, 0.5, 1.0]);
    assert_eq!(rows(&checkpoint, name, 1..3)[..2], [-32.0, -30.0]);
    assert_eq!(rows(&checkpoint, name, 2..3)[31], 32.0);
}

#[test]
fn types_that_are_not_read_are_named() {
    let mut file = model("llama");
    file.tensors.retain(|(name, ..)| name != "blk.0.attn_v.weight");
    let (_directory, path) = file.tensor("blk.0.attn_v.weight", &[16, 32], 23, vec![0; 64]).write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let error = checkpoint.check_usable("model.layers.0.self_attn.v_proj.weight").expect_err("not read");
    assert!(error.to_string().ends_with("its dtype is IQ4_XS, expected BF16, F16 or F32"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("Q2_K to Q6_K")));
}

#[test]
fn keys_that_sound_like_maths_are_refused_by_their_names() {
    let (_directory, path) = model("llama").float("llama.attention.scale", 0.25).write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let error = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]).expect_err("unknown");
    assert!(matches!(&error, ConfigError::UnknownKeys(keys) if keys[0].key == "llama.attention.scale"), "{error}");
    let refused = |writer: Writer| render(&error_of(&writer));
    assert!(refused(model("llama").size("llama.expert_count", 8)).contains("num_local_experts"));
    assert!(refused(model("falcon")).contains("`falcon`"));
    assert!(refused(model("llama").size("llama.rope.dimension_count", 4)).contains("expected 8"));
}

fn error_of(writer: &Writer) -> CheckpointError {
    error(&writer.bytes())
}

#[test]
fn split_models_are_read_from_their_first_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |number: u32| directory.path().join(format!("tiny-{number:05}-of-00002.gguf"));
    let mut first = model("llama").raw("split.count", 2, &2_u16.to_le_bytes()).raw("split.no", 2, &0_u16.to_le_bytes());
    let mut second = Writer::default().raw("split.count", 2, &2_u16.to_le_bytes());
    second.tensors = first.tensors.split_off(5);
    fs::write(path(1), first.bytes()).expect("a file");
    let missing = Checkpoint::open(&path(1)).expect_err("a part is missing");
    assert!(render(&missing).contains("`tiny-00002-of-00002.gguf` is missing"), "{}", render(&missing));
    fs::write(path(2), second.bytes()).expect("a file");
    for path in [path(1), directory.path().to_owned()] {
        let checkpoint = Checkpoint::open(&path).expect("a model");
        assert_eq!(checkpoint.tensor_names().count(), 11);
        assert!(checkpoint.companions().expect("made").ends_with("tiny"));
    }
    let error = Checkpoint::open(&path(2)).expect_err("not the first");
    assert!(!render(&error).is_empty());
}

#[test]
fn a_directory_with_several_models_names_them() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["a.gguf", "b.gguf", "mmproj-a.gguf"] {
        fs::write(directory.path().join(name), model("llama").bytes()).expect("a file");
    }
    let error = Checkpoint::open(directory.path()).expect_err("two models");
    assert!(render(&error).contains("2 GGUF models: a.gguf, b.gguf"), "{}", render(&error));
}

#[test]
fn files_cut_short_are_refused_wherever_they_end() {
    let whole = model("llama").bytes();
    for length in (0..whole.len()).step_by(97).chain([3, 4, 8, 16, 24, whole.len() - 32]) {
        let error = error(&whole[..length]);
        assert!(error.hint().is_some(), "{length}: {}", render(&error));
    }
}

#[test]
fn lying_lengths_neither_panic_nor_allocate() {
    let whole = model("llama").list("tokenizer.ggml.tokens", 8, &[string("a"), string("b")]).bytes();
    // Every eight bytes of the header become the largest number, and every byte another one.
    let end = whole.len() - 17 * 1024;
    for at in (4..end.min(2500)).step_by(3) {
        for value in [[0xff; 8], [0; 8], [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&value);
            let (_directory, path) = written(&bytes);
            if let Ok(checkpoint) = Checkpoint::open(&path) {
                let _ = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]);
                let _ = checkpoint.companions();
            }
        }
    }
}

#[test]
fn other_files_under_this_name_are_told_apart() {
    let hint = |bytes: &[u8]| error(bytes).hint().unwrap_or_default();
    assert!(hint(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("git lfs pull"));
    assert!(hint(b"PK\x03\x04rest").contains("zip"));
    let mut swapped = model("llama").bytes();
    swapped[4..8].reverse();
    assert!(render(&error(&swapped)).contains("big-endian"));
    let (_directory, path) = model("llama").write();
    let renamed = path.with_extension("bin");
    fs::rename(&path, &renamed).expect("renamed");
    assert!(Checkpoint::open(&renamed).is_ok());
}

#[test]
fn a_byte_level_tokenizer_is_rebuilt_with_its_special_tokens() {
    let tokens = ["a", "b", "ab", "<|im_start|>", "<|im_end|>", "[PAD5]"];
    let kinds = [1, 1, 1, 3, 3, 5];
    let (_directory, path) = model("qwen2")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "qwen2")
        .list("tokenizer.ggml.tokens", 8, &tokens.map(string))
        .list("tokenizer.ggml.token_type", 5, &kinds.map(|kind: i32| kind.to_le_bytes().to_vec()))
        .list("tokenizer.ggml.merges", 8, &[string("a b")])
        .size("tokenizer.ggml.eos_token_id", 4)
        .text("tokenizer.chat_template", "{{ messages }}")
        .write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    assert!(checkpoint.notes().warnings.is_empty(), "{:?}", checkpoint.notes().warnings);
    let companions = checkpoint.companions().expect("made");
    let tokenizer = anec_runtime::tokenizer::TextTokenizer::open(companions).expect("a tokenizer");
    let ids = tokenizer.encode("abb<|im_end|>", anec_runtime::tokenizer::SpecialTokens::Add).expect("encoded");
    assert_eq!(ids, [2, 1, 4]);
    assert_eq!(tokenizer.token("[PAD5]"), None);
    let config = anec_runtime::tokenizer::TokenizerConfig::open(companions).expect("a config");
    assert_eq!(config.special_token("eos_token"), Some("<|im_end|>"));
    assert_eq!(config.chat_templates.get("default").map(String::as_str), Some("{{ messages }}"));
    let generation = anec_runtime::generate::GenerationConfig::open(companions).expect("a config");
    assert_eq!(generation.stop_tokens(&config, &tokenizer), [4]);
}

#[test]
fn a_sentencepiece_tokenizer_merges_by_score_and_falls_back_to_bytes() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "▁", "a", "b", "ab", "▁a", "▁ab", "ba"].map(str::to_owned).to_vec();
    for byte in 0..=255_u8 {
        let mut token = String::new();
        write!(token, "<0x{byte:02X}>").expect("writing to a string");
        tokens.push(token);
    }
    let kinds: Vec<Vec<u8>> = (0..tokens.len())
        .map(|id| match id {
            0 => 2_i32,
            1 => 3,
            id if id > 8 => 6,
            _ => 1,
        })
        .map(|kind| kind.to_le_bytes().to_vec())
        .collect();
    let scores = (0..tokens.len()).map(|id| -f32::from(u16::try_from(id).expect("few")));
    let scores: Vec<Vec<u8>> = scores.map(|score| score.to_le_bytes().to_vec()).collect();
    let texts: Vec<Vec<u8>> = tokens.iter().map(|token| string(token)).collect();
    let (_directory, path) = model("llama")
        .text("tokenizer.ggml.model", "llama")
        .list("tokenizer.ggml.tokens", 8, &texts)
        .list("tokenizer.ggml.token_type", 5, &kinds)
        .list("tokenizer.ggml.scores", 6, &scores)
        .size("tokenizer.ggml.bos_token_id", 1)
        .write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let companions = checkpoint.companions().expect("made");
    let tokenizer = anec_runtime::tokenizer::TextTokenizer::open(companions).expect("a tokenizer");
    let encode = |text| tokenizer.encode(text, anec_runtime::tokenizer::SpecialTokens::Add).expect("encoded");
    // A text starts with a space; `ab` is merged before `▁a`, because its score is higher.
    assert_eq!(encode("aba"), [1, 7, 3]);
    assert_eq!(encode("\n"), [1, 2, 9 + 10]);
    assert_eq!(tokenizer.decode(&encode("ab ba\n")).expect("decoded"), "ab ba\n");
}

/// The merges of a tokenizer of SentencePiece's kind whose tokens all have one score but for those that the user defined.
fn merges_of(architecture: &str, tokens: &[&str], user_defined: &[usize]) -> Vec<String> {
    let kind = |id: usize| match id {
        0 => 2_i32,
        id if user_defined.contains(&id) => 4,
        _ => 1,
    };
    let kinds: Vec<Vec<u8>> = (0..tokens.len()).map(|id| kind(id).to_le_bytes().to_vec()).collect();
    // llama.cpp's converter gives tokens of the user the lowest score.
    let score = |id: usize| if user_defined.contains(&id) { -1000.0_f32 } else { -1.0 };
    let scores: Vec<Vec<u8>> = (0..tokens.len()).map(|id| score(id).to_le_bytes().to_vec()).collect();
    let texts: Vec<Vec<u8>> = tokens.iter().map(|token| string(token)).collect();
    let (_directory, path) = model(architecture)
        .text("tokenizer.ggml.model", "llama")
        .list("tokenizer.ggml.tokens", 8, &texts)
        .list("tokenizer.ggml.token_type", 5, &kinds)
        .list("tokenizer.ggml.scores", 6, &scores)
        .write();
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let file = checkpoint.companions().expect("made").join("tokenizer.json");
    let tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(file).expect("read")).expect("JSON");
    let merges = tokenizer["model"]["merges"].as_array().expect("merges");
    let pair =
        |pair: &serde_json::Value| format!("{}+{}", pair[0].as_str().expect("text"), pair[1].as_str().expect("text"));
    merges.iter().map(pair).collect()
}

#[test]
fn merges_of_one_score_are_in_the_order_of_the_published_tokenizer() {
    let tokens = ["<unk>", "a", "b", "aa", "ab", "aab"];
    // `aab` is `a+ab` or `aa+b`: the ids of the halves decide, but for Gemma their lengths do.
    assert_eq!(merges_of("llama", &tokens, &[]), ["a+a", "a+b", "a+ab", "aa+b"]);
    assert_eq!(merges_of("gemma3", &tokens, &[]), ["aa+b", "a+ab", "a+a", "a+b"]);
}

#[test]
fn runs_of_spaces_are_spelled_as_sentencepiece_does_and_merged_first() {
    let tokens = ["<unk>", "▁", "t", "▁t", "  ", "   "];
    assert_eq!(merges_of("gemma3", &tokens, &[4, 5]), ["▁▁+▁", "▁+▁▁", "▁+▁", "▁+t"]);
}
