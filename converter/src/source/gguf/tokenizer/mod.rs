//! The tokenizer of a GGUF as the files that transformers has of one: tokenizer.json, tokenizer_config.json with the chat
//! templates, and generation_config.json with the tokens that end a text.
//!
//! What llama.cpp has only in its code, such as the expression that splits a text into words, is found by the name that the
//! file gives it.

mod byte_level;
mod sentencepiece;
mod vocabulary;

use serde_json::{Map, Value, json};

use self::vocabulary::{Kind, Vocabulary};
use super::error::GgufError;
use super::metadata::Metadata;
use super::pretty;

/// Tokens that end a turn or a text, whatever key of the metadata has them.
///
/// # Source
/// The tokens that llama.cpp's `llama_vocab::impl::load` takes for the end of generation by their spelling.
const ENDS: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>"];

/// What a file says of its tokenizer.
pub(super) struct Tokenizer<'a> {
    metadata: &'a Metadata,
    bytes: &'a [u8],
}

impl<'a> Tokenizer<'a> {
    pub(super) fn of(metadata: &'a Metadata, bytes: &'a [u8]) -> Self {
        Self { metadata, bytes }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        self.metadata.optional_string(self.bytes, key)
    }

    fn model(&self) -> Result<&'a str, GgufError> {
        Ok(self.text("tokenizer.ggml.model")?.unwrap_or_default())
    }

    /// Why there is no tokenizer, where the file has none that can be rebuilt.
    pub(super) fn warnings(&self) -> Vec<String> {
        let unknown = match (self.model(), self.text("tokenizer.ggml.pre")) {
            (Ok("gpt2"), Ok(pre)) => byte_level::splitter(pre).is_none().then(|| {
                let pre = pre.map_or_else(|| "that the file does not name".to_owned(), |pre| format!("`{pre}`"));
                format!("splits words in the way {pre}")
            }),
            (Ok("llama"), Ok(_)) => None,
            (Ok(model), _) => Some(format!("is of the kind `{model}`")),
            (Err(error), _) => Some(format!("cannot be read: {error}")),
        };
        let message = |why| {
            format!(
                "no tokenizer is written, because that of the GGUF {why}: put the tokenizer.json of the original model into \
                 the result"
            )
        };
        unknown.map(message).into_iter().collect()
    }

    /// Names and contents of the files.
    ///
    /// # Errors
    /// What the file says of its tokenizer makes no sense.
    pub(super) fn files(&self) -> Result<Vec<(&'static str, String)>, GgufError> {
        let Some(vocabulary) = Vocabulary::read(self.metadata, self.bytes, self.model()? == "llama")? else {
            return Ok(Vec::new());
        };
        let special = |name: &str| {
            let id = self.metadata.optional_unsigned(&format!("tokenizer.ggml.{name}_token_id"))?;
            Ok::<_, GgufError>(id.and_then(|id| vocabulary.spelling(id)))
        };
        let (bos, eos, unknown, padding) = (special("bos")?, special("eos")?, special("unknown")?, special("padding")?);
        let starts_by_default = match self.model()? {
            "llama" => true,
            _ => byte_level::starts_with_bos(self.text("tokenizer.ggml.pre")?),
        };
        let adds = |key: &str| self.metadata.optional_bool(&format!("tokenizer.ggml.add_{key}_token"));
        let (add_bos, add_eos) = (adds("bos")?.unwrap_or(starts_by_default), adds("eos")?.unwrap_or(false));
        let first = bos.filter(|_| add_bos);
        let last = eos.filter(|_| add_eos);
        let mut files = Vec::new();
        let model = match self.model()? {
            "gpt2" => byte_level::tokenizer(self.metadata, self.bytes, &vocabulary, unknown)?,
            "llama" => Some(sentencepiece::tokenizer(self.metadata, self.bytes, &vocabulary, unknown)?),
            _ => None,
        };
        if let Some(mut tokenizer) = model {
            tokenizer.insert("added_tokens".to_owned(), added_tokens(&vocabulary));
            if first.is_some() || last.is_some() {
                tokenizer.insert("post_processor".to_owned(), template(first, last, &vocabulary));
            }
            // Keys in the order of other tokenizers.
            let ordered = [
                "version",
                "truncation",
                "padding",
                "added_tokens",
                "normalizer",
                "pre_tokenizer",
                "post_processor",
                "decoder",
                "model",
            ];
            let get = |key: &&str| ((*key).to_owned(), tokenizer.get(*key).cloned().unwrap_or(Value::Null));
            let text = serde_json::to_string(&ordered.iter().map(get).collect::<Map<_, _>>());
            files.push(("tokenizer.json", text.unwrap_or_default()));
        }
        let mut config = Map::new();
        for (name, spelling) in [("bos_token", bos), ("eos_token", eos), ("unk_token", unknown), ("pad_token", padding)]
        {
            if let Some(spelling) = spelling {
                config.insert(name.to_owned(), json!(spelling));
            }
        }
        config.insert("add_bos_token".to_owned(), json!(add_bos));
        config.insert("add_eos_token".to_owned(), json!(add_eos));
        config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
        config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
        if let Some(templates) = self.chat_templates()? {
            config.insert("chat_template".to_owned(), templates);
        }
        files.push(("tokenizer_config.json", pretty(&Value::Object(config))));
        files.push(("generation_config.json", pretty(&self.generation(&vocabulary)?)));
        Ok(files)
    }

    /// One template, or several with their names.
    fn chat_templates(&self) -> Result<Option<Value>, GgufError> {
        let default = self.text("tokenizer.chat_template")?;
        let names = self.metadata.strings(self.bytes, "tokenizer.chat_templates")?.unwrap_or_default();
        let mut named = Vec::new();
        for name in names {
            if let Some(template) = self.text(&format!("tokenizer.chat_template.{name}"))? {
                named.push(json!({"name": name, "template": template}));
            }
        }
        if named.is_empty() {
            return Ok(default.map(Value::from));
        }
        if let Some(template) = default {
            named.insert(0, json!({"name": "default", "template": template}));
        }
        Ok(Some(Value::Array(named)))
    }

    fn generation(&self, vocabulary: &Vocabulary<'_>) -> Result<Value, GgufError> {
        let id = |name: &str| self.metadata.optional_unsigned(&format!("tokenizer.ggml.{name}_token_id"));
        let mut ends: Vec<u64> = [id("eos")?, id("eot")?, id("eom")?].into_iter().flatten().collect();
        let by_name = ENDS.iter().filter_map(|name| vocabulary.id(name));
        ends.extend(by_name.filter(|id| vocabulary.kind(*id) == Kind::Control).map(|id| id as u64));
        let mut seen = Vec::new();
        for end in ends {
            if !seen.contains(&end) {
                seen.push(end);
            }
        }
        let mut config = Map::new();
        if let Some(bos) = id("bos")? {
            config.insert("bos_token_id".to_owned(), json!(bos));
        }
        config.insert("eos_token_id".to_owned(), json!(seen));
        Ok(Value::Object(config))
    }
}

/// Tokens that are found in a text before anything else is done with it.
fn added_tokens(vocabulary: &Vocabulary<'_>) -> Value {
    let added = vocabulary.iter().filter_map(|(id, spelling, kind)| {
        let special = match kind {
            Kind::Control | Kind::Unknown => true,
            Kind::UserDefined => false,
            Kind::Normal | Kind::Byte | Kind::Unused => return None,
        };
        Some(json!({
            "id": id, "content": spelling, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": special,
        }))
    });
    Value::Array(added.collect())
}

/// What a text starts and ends with.
fn template(first: Option<&str>, last: Option<&str>, vocabulary: &Vocabulary<'_>) -> Value {
    let around = |sequence: &str, type_id: u8| {
        let token = |spelling: &str| json!({"SpecialToken": {"id": spelling, "type_id": type_id}});
        let mut parts: Vec<Value> = first.map(token).into_iter().collect();
        parts.push(json!({"Sequence": {"id": sequence, "type_id": type_id}}));
        parts.extend(last.map(token));
        parts
    };
    let mut tokens = Map::new();
    for spelling in first.into_iter().chain(last) {
        let ids: Vec<usize> = vocabulary.id(spelling).into_iter().collect();
        tokens.insert(spelling.to_owned(), json!({"id": spelling, "ids": ids, "tokens": [spelling]}));
    }
    let pair = [around("A", 0), around("B", 1)].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": pair,
        "special_tokens": tokens,
    })
}
