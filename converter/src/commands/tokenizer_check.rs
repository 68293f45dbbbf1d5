//! Whether the tokenizer of a checkpoint is one, and the model's: what `anec run` and clients would only notice later.

use anec_runtime::generate::GenerationConfig;
use anec_runtime::tokenizer::{TOKENIZER_JSON, TextTokenizer, TokenizerConfig};

use crate::error::render;
use crate::source::checkpoint::Checkpoint;

/// Tokenizers of other libraries, and what makes a tokenizer.json of them.
const OTHERS: [(&str, &str); 3] = [
    (
        "tokenizer.model",
        "load it with transformers, `AutoTokenizer.from_pretrained(directory, use_fast=True)`, which converts it, and save it \
         with `save_pretrained`",
    ),
    ("tekken.json", "take the tokenizer.json of the model's repository for transformers"),
    (
        "vocab.json",
        "load it with transformers, `AutoTokenizer.from_pretrained(directory, use_fast=True)`, which converts it, and save it \
         with `save_pretrained`",
    ),
];

/// The smallest part of a vocabulary that a tokenizer of the model has: rows that fill a table up are few.
const LEAST_PART: usize = 2;

/// What is wrong with the tokenizer of a model whose vocabulary has so many tokens.
pub(super) fn warnings(checkpoint: &Checkpoint, vocab_size: usize) -> Vec<String> {
    // One that cannot be followed or made is an error where it is copied.
    let Ok(found) = checkpoint.companion(TOKENIZER_JSON) else { return Vec::new() };
    if found.is_none() {
        // A source that makes the files says itself why it does not.
        let is_told = checkpoint.notes().warnings.iter().any(|warning| warning.contains("tokenizer"));
        return if is_told { Vec::new() } else { vec![missing(checkpoint)] };
    }
    let Ok(directory) = checkpoint.companions() else { return Vec::new() };
    let tokenizer = match TextTokenizer::open(directory) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            let message = render(&error);
            return vec![format!("{message}: `anec run` and clients will not be able to read text; download it again")];
        }
    };
    let tokens = tokenizer.vocabulary_end();
    let is_other = tokens > vocab_size || tokens < vocab_size / LEAST_PART;
    if is_other {
        return vec![format!(
            "{TOKENIZER_JSON} has {tokens} tokens and the model {vocab_size}: it is of another model, and `anec run` and \
             clients will read and write nonsense"
        )];
    }
    end(&tokenizer, checkpoint).into_iter().collect()
}

fn missing(checkpoint: &Checkpoint) -> String {
    let is_there = |(name, _): &&(&str, &str)| checkpoint.companion(name).is_ok_and(|path| path.is_some());
    let need = "which `anec run` and clients need to read text";
    match OTHERS.iter().find(is_there) {
        Some((name, advice)) => format!("there is no {TOKENIZER_JSON}, {need}, only {name}: {advice}"),
        None => format!("there is no {TOKENIZER_JSON}, {need}: download the tokenizer of the model too"),
    }
}

/// Whether the token that ends a text is another one to the tokenizer than to the model.
fn end(tokenizer: &TextTokenizer, checkpoint: &Checkpoint) -> Option<String> {
    let directory = checkpoint.companions().ok()?;
    let config = TokenizerConfig::open(directory).ok()?;
    let spelling = config.special_token("eos_token")?;
    let id = u64::from(tokenizer.token(spelling)?);
    let mut expected: Vec<u64> = Vec::new();
    if let Ok(generation) = GenerationConfig::open(directory) {
        expected.extend(generation.eos_tokens().iter().map(|token| u64::from(*token)));
    }
    match checkpoint.config_json().get("eos_token_id") {
        Some(serde_json::Value::Array(ids)) => expected.extend(ids.iter().filter_map(serde_json::Value::as_u64)),
        Some(single) => expected.extend(single.as_u64()),
        None => {}
    }
    if expected.is_empty() || expected.contains(&id) {
        return None;
    }
    let expected: Vec<String> = expected.iter().map(u64::to_string).collect();
    Some(format!(
        "the token that ends a text, `{spelling}`, is {id} to {TOKENIZER_JSON} and {} to config.json: they may be of different \
         models",
        expected.join(" or ")
    ))
}
