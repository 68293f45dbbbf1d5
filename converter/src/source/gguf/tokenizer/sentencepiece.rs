//! SentencePiece's BPE, as Llama 2 and Gemma have it: spaces are spelled `▁`, characters that are no tokens become their
//! bytes, and the order of the merges is that of the tokens' scores.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::vocabulary::{Kind, Vocabulary};
use crate::source::gguf::error::GgufError;
use crate::source::gguf::metadata::Metadata;

/// How a space is spelled.
const SPACE: &str = "▁";

/// Longest token that merges are made for, in bytes; real ones stay below 300. Each way to cut a token in two is tried.
const LONGEST_MERGED: usize = 1024;

/// The content of tokenizer.json but for what all kinds share.
pub(super) fn tokenizer(
    metadata: &Metadata,
    bytes: &[u8],
    vocabulary: &Vocabulary<'_>,
    unknown: Option<&str>,
) -> Result<Map<String, Value>, GgufError> {
    let scores = metadata.floats(bytes, "tokenizer.ggml.scores")?;
    let scores = scores.filter(|scores| scores.len() >= vocabulary.len());
    let scores = scores.ok_or_else(|| GgufError::Tokenizer { found: "tokens without scores".to_owned() })?;
    let prefixed = metadata.optional_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let normalizer = if prefixed {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]})
    } else {
        replace
    };
    let unknown =
        unknown.or_else(|| vocabulary.iter().find(|(.., kind)| *kind == Kind::Unknown).map(|(_, text, _)| text));
    let vocab: Map<String, Value> =
        vocabulary.iter().map(|(_, spelling, _)| (spelling.to_owned(), json!(vocabulary.id(spelling)))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "normalizer": normalizer,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges(vocabulary, &scores, order(metadata, bytes)?),
        },
    });
    Ok(tokenizer.as_object().cloned().unwrap_or_default())
}

/// What decides between merges of one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The ids of the halves alone.
    Ids,
    /// The lengths of the halves, longer ones first, then their ids.
    Lengths,
}

/// The order that the published tokenizers of an architecture were made with.
///
/// # Source
/// `SentencePieceExtractor.extract` of transformers' `convert_slow_tokenizer.py` before and since Gemma: the merges of Llama 2
/// are in the first order, those of Gemma 3 in the second.
fn order(metadata: &Metadata, bytes: &[u8]) -> Result<Order, GgufError> {
    let architecture = metadata.optional_string(bytes, "general.architecture")?;
    let is_gemma = architecture.is_some_and(|architecture| architecture.starts_with("gemma"));
    Ok(if is_gemma { Order::Lengths } else { Order::Ids })
}

/// The score of a token that the user defined, above those of all others. GGUF files say -1000, which is llama.cpp's.
///
/// # Source
/// SentencePiece's trainer gives such pieces the score 0.
const USER_DEFINED_SCORE: f32 = 0.0;

/// All ways to make a token of two others, those first that SentencePiece would take first: by score, then as `order` says.
fn merges(vocabulary: &Vocabulary<'_>, scores: &[f32], order: Order) -> Vec<[String; 2]> {
    let mut merges = Vec::new();
    for (id, spelling, kind) in vocabulary.iter() {
        let Some(score) = scores.get(id).filter(|_| spelling.len() <= LONGEST_MERGED) else { continue };
        let score = if kind == Kind::UserDefined { USER_DEFINED_SCORE } else { *score };
        let characters = spelling.char_indices().map(|(at, _)| at).skip(1);
        let mut of_token: Vec<_> = characters
            .filter_map(|at| {
                let (left, right) = spelling.split_at(at);
                Some((vocabulary.id(left)?, vocabulary.id(right)?, left, right))
            })
            .collect();
        of_token.sort_unstable_by_key(|(left, right, ..)| (*left, *right));
        let lengths = |left: &str, right: &str| match order {
            Order::Ids => (0, 0),
            Order::Lengths => (left.chars().count(), right.chars().count()),
        };
        merges.extend(of_token.into_iter().map(|(_, _, left, right)| (score, lengths(left, right), left, right)));
    }
    // Stable, so that the order of ids decides between equals.
    merges.sort_by(|(score, lengths, ..), (other, other_lengths, ..)| {
        other.partial_cmp(score).unwrap_or(Ordering::Equal).then(other_lengths.cmp(lengths))
    });
    merges.into_iter().map(|(_, _, left, right)| [left.to_owned(), right.to_owned()]).collect()
}
