//! Tokens to text as they come: the pieces must be the whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::path::{Path, PathBuf};

use anec_runtime::tokenizer::{Detokenizer, SpecialTokens, TextTokenizer, TokenizerConfig, TokenizerError};

const TEXTS: [&str; 6] = [
    "It was a truth universally acknowledged, that two  spaces\n\nand tabs\t are kept.",
    "naïve café, Größe, Ελληνικά, русский, 日本語, 한국어, עברית, हिन्दी",
    "👍🏽 👨‍👩‍👧‍👦 🇩🇪 e\u{301} \u{1f9d1}\u{200d}\u{1f680}x",
    "<|im_start|>user\nspecial tokens are left out<|im_end|> but not the space",
    "a real \u{fffd} replacement character, and one at the end \u{fffd}",
    "",
];

/// A tokenizer with bytes for unknown characters and `▁` for spaces, as Llama 2 and Mistral have them.
fn with_byte_fallback() -> TextTokenizer {
    let mut vocabulary = serde_json::Map::new();
    let mut add = |token: String| {
        let id = vocabulary.len();
        vocabulary.insert(token, id.into());
    };
    ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().for_each(&mut add);
    (0..=255).map(|byte| format!("<0x{byte:02X}>")).for_each(&mut add);
    "▁abcdefghijklmnopqrstuvwxyzIé,.".chars().map(String::from).for_each(&mut add);
    ["▁t", "▁th", "▁a", "▁▁"].map(str::to_owned).into_iter().for_each(&mut add);
    let replace =
        |from: &str, to: &str| serde_json::json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let special = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true})
    };
    let json = serde_json::json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "Sequence", "decoders": [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                  "vocab": vocabulary, "merges": [["▁", "t"], ["▁t", "h"], ["▁", "a"], ["▁", "▁"]]}
    });
    TextTokenizer::from_json(&json.to_string()).unwrap()
}

fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3")
}

/// The tokenizer of this repository, those in `ANEC_FIXTURES`, and one of another kind.
fn tokenizers() -> Vec<TextTokenizer> {
    let mut directories = vec![checkpoint()];
    for parent in std::env::var("ANEC_FIXTURES").unwrap_or_default().split(':').filter(|path| !path.is_empty()) {
        let entries = std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
        directories.extend(entries.filter(|path| path.join("tokenizer.json").is_file()));
    }
    let mut tokenizers: Vec<_> = directories.iter().map(|path| TextTokenizer::open(path).unwrap()).collect();
    tokenizers.push(with_byte_fallback());
    tokenizers
}

fn streamed(tokenizer: &TextTokenizer, context: &[u32], tokens: &[u32]) -> (String, Vec<String>) {
    let mut detokenizer = Detokenizer::new(tokenizer, context);
    let mut pieces: Vec<String> = tokens.iter().map(|token| detokenizer.push(*token).unwrap()).collect();
    pieces.push(detokenizer.finish().unwrap());
    (pieces.concat(), pieces)
}

#[test]
fn the_pieces_are_the_whole_text() {
    for tokenizer in tokenizers() {
        for text in TEXTS {
            let tokens = tokenizer.encode(text, SpecialTokens::Add).unwrap();
            assert_eq!(streamed(&tokenizer, &[], &tokens).0, tokenizer.decode(&tokens).unwrap());
        }
    }
}

#[test]
fn what_follows_a_prompt_keeps_its_space() {
    for tokenizer in tokenizers() {
        for text in TEXTS {
            let tokens = tokenizer.encode(text, SpecialTokens::Add).unwrap();
            for split in 0..tokens.len() {
                let (prompt, rest) = tokens.split_at(split);
                let (before, all) = (tokenizer.decode(prompt).unwrap(), tokenizer.decode(&tokens).unwrap());
                // A prompt that ends within a character is none that a text makes.
                if let Some(expected) = all.strip_prefix(&before).filter(|_| !before.ends_with('\u{fffd}')) {
                    assert_eq!(streamed(&tokenizer, prompt, rest).0, expected, "{text} at {split}");
                }
            }
        }
    }
}

#[test]
fn no_piece_has_half_a_character() {
    for tokenizer in tokenizers() {
        for text in TEXTS.iter().filter(|text| !text.contains('\u{fffd}')) {
            let tokens = tokenizer.encode(text, SpecialTokens::Add).unwrap();
            let (_, pieces) = streamed(&tokenizer, &[], &tokens);
            assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_character_do_not_stop_the_text() {
    let tokenizer = with_byte_fallback();
    let byte = |byte: u8| tokenizer.token(&format!("<0x{byte:02X}>")).unwrap();
    let letter = tokenizer.token("a").unwrap();
    let mut tokens = vec![letter, byte(0xe2), byte(0x82), letter];
    tokens.extend([byte(0xff); 100]);
    tokens.push(letter);
    let (text, pieces) = streamed(&tokenizer, &[], &tokens);
    assert_eq!(text.chars().filter(|character| *character == '\u{fffd}').count(), 102);
    assert!(text.starts_with("a\u{fffd}\u{fffd}a") && text.ends_with('a'), "{text}");
    assert!(pieces.iter().filter(|piece| !piece.is_empty()).count() > 10, "the text comes in pieces: {pieces:?}");
}

#[test]
fn a_prompt_is_not_cut_by_settings_of_the_training() {
    let tokenizer = with_byte_fallback();
    assert_eq!(tokenizer.encode("abcdefgh", SpecialTokens::Add).unwrap().len(), 9);
    assert_eq!(tokenizer.encode("abcdefgh", SpecialTokens::Present).unwrap().len(), 8);
}

#[test]
fn special_tokens_are_known_by_name_whatever_their_form() {
    let directory = tempfile::tempdir().unwrap();
    let config = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
        "additional_special_tokens": ["<a>", {"content": "<b>"}], "extra_special_tokens": {"image_token": "<i>"}}"#;
    std::fs::write(directory.path().join("tokenizer_config.json"), config).unwrap();
    std::fs::write(directory.path().join("special_tokens_map.json"), r#"{"eos_token": "x", "unk_token": "<u>"}"#)
        .unwrap();
    let found = TokenizerConfig::open(directory.path()).unwrap().special_tokens;
    let expected = serde_json::json!({"additional_special_tokens": ["<a>", "<b>"], "bos_token": "<s>",
        "eos_token": "</s>", "image_token": "<i>", "unk_token": "<u>"});
    assert_eq!(serde_json::to_value(found).unwrap(), expected);
}

#[test]
fn files_that_are_missing_or_malformed_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = TextTokenizer::open(directory.path()).unwrap_err();
    assert!(matches!(error, TokenizerError::Missing { .. }), "{error}");
    std::fs::write(directory.path().join("tokenizer.json"), "{").unwrap();
    let error = TextTokenizer::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
    std::fs::write(directory.path().join("tokenizer_config.json"), r#"{"chat_template": 3}"#).unwrap();
    let error = TokenizerConfig::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("tokenizer_config.json"), "{error}");
}
