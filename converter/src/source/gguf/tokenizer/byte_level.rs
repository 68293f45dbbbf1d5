//! Byte-level BPE, as GPT-2 has it: bytes are spelled as characters, words are split by an expression, and the merges are in
//! the file.

use serde_json::{Map, Value, json};

use super::vocabulary::Vocabulary;
use crate::source::gguf::error::GgufError;
use crate::source::gguf::metadata::Metadata;

/// A way to split a text into words.
#[expect(clippy::struct_excessive_bools, reason = "what tokenizers do or do not")]
pub(super) struct Splitter {
    /// What `tokenizer.ggml.pre` calls it.
    names: &'static [&'static str],
    /// The expression, or that of GPT-2 where there is none.
    expression: Option<&'static str>,
    /// Whether every digit is a word.
    single_digits: bool,
    /// Whether a text is brought into Unicode's form C.
    composed: bool,
    /// Whether a word that is a token stays one, whatever the merges would make of it.
    ignore_merges: bool,
    /// Whether a text starts with the token for the start where the file does not say.
    starts_with_bos: bool,
}

impl Splitter {
    const GPT2: Self = Self {
        names: &["gpt-2", "gpt2", "phi-2"],
        expression: None,
        single_digits: false,
        composed: false,
        ignore_merges: false,
        starts_with_bos: false,
    };
}

/// All ways that are known.
///
/// # Source
/// `llama_vocab::impl::load` and `llm_tokenizer_bpe` of llama.cpp's `src/llama-vocab.cpp` for the names, and the tokenizers of
/// the models that the names are for: Llama 3.1, Qwen2.5, SmolLM2, Mistral Nemo, GPT-2.
static SPLITTERS: &[Splitter] = &[
    Splitter::GPT2,
    Splitter {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        single_digits: true,
        ..Splitter::GPT2
    },
    Splitter {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        expression: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignore_merges: true,
        starts_with_bos: true,
        ..Splitter::GPT2
    },
    Splitter {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        expression: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        composed: true,
        ..Splitter::GPT2
    },
    Splitter {
        names: &["tekken"],
        expression: Some(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignore_merges: true,
        starts_with_bos: true,
        ..Splitter::GPT2
    },
];

/// The way of a name; none of one that is not known, or where the file names none.
pub(super) fn splitter(pre: Option<&str>) -> Option<&'static Splitter> {
    let pre = pre?;
    SPLITTERS.iter().find(|splitter| splitter.names.contains(&pre))
}

/// Whether a text starts with the token for the start, where the file does not say.
pub(super) fn starts_with_bos(pre: Option<&str>) -> bool {
    splitter(pre).is_some_and(|splitter| splitter.starts_with_bos)
}

/// The content of tokenizer.json but for what all kinds share; none where words are split in a way that is not known.
pub(super) fn tokenizer(
    metadata: &Metadata,
    bytes: &[u8],
    vocabulary: &Vocabulary<'_>,
    unknown: Option<&str>,
) -> Result<Option<Map<String, Value>>, GgufError> {
    let Some(splitter) = splitter(metadata.optional_string(bytes, "tokenizer.ggml.pre")?) else { return Ok(None) };
    let merges = metadata.strings(bytes, "tokenizer.ggml.merges")?.unwrap_or_default();
    let pair = |merge: &&str| {
        let (left, right) = merge.split_once(' ')?;
        let known = |token: &str| vocabulary.id(token).is_some();
        (known(left) && known(right) && known(&format!("{left}{right}"))).then(|| json!([left, right]))
    };
    let pairs: Option<Vec<Value>> = merges.iter().map(pair).collect();
    let pairs = pairs.ok_or_else(|| GgufError::Tokenizer {
        found: "a merge of tokens that the vocabulary does not have".to_owned(),
    })?;
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let split = match splitter.expression {
        Some(expression) => json!([
            {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false},
            byte_level(false),
        ]),
        None if splitter.single_digits => json!([{"type": "Digits", "individual_digits": true}, byte_level(true)]),
        None => json!([byte_level(true)]),
    };
    let vocab: Map<String, Value> =
        vocabulary.iter().map(|(_, spelling, _)| (spelling.to_owned(), json!(vocabulary.id(spelling)))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "normalizer": splitter.composed.then(|| json!({"type": "NFC"})),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": split},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": splitter.ignore_merges, "vocab": vocab, "merges": pairs,
        },
    });
    Ok(tokenizer.as_object().cloned())
}
