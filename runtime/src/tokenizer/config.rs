//! `tokenizer_config.json`: names of special tokens, and chat templates.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::companion::{self, CompanionError};

const TOKENIZER_CONFIG_JSON: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP_JSON: &str = "special_tokens_map.json";
const CHAT_TEMPLATE_JINJA: &str = "chat_template.jinja";

/// Directory of templates by name, such as `tool_use.jinja`, beside the default one.
///
/// # Source
/// `CHAT_TEMPLATE_DIR` of transformers 4.57.
const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";

/// Most templates beside the default one.
const MAX_TEMPLATES: usize = 64;

/// Largest file that is read, in bytes; real ones stay under a few MB.
const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// Name of the template that is used where nothing asks for another.
const DEFAULT_TEMPLATE: &str = "default";

/// Names of special tokens that templates may use.
///
/// # Source
/// `SpecialTokensMixin.SPECIAL_TOKENS_ATTRIBUTES` of transformers 4.57.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// List of special tokens without a name of their own.
const ADDITIONAL_SPECIAL_TOKENS: &str = "additional_special_tokens";

/// Special tokens by names that a model made up.
const EXTRA_SPECIAL_TOKENS: &str = "extra_special_tokens";

/// What the files of a tokenizer say besides the tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerConfig {
    /// Special tokens by the names that templates use: strings, or lists of strings.
    pub special_tokens: BTreeMap<String, Value>,
    /// Chat templates by name.
    pub chat_templates: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct RawConfig {
    #[serde(default)]
    chat_template: Option<RawTemplates>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTemplates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenizerConfig {
    /// Reads the files of a directory; those that are not there say nothing.
    ///
    /// # Errors
    /// A file cannot be read or is malformed.
    pub fn open(directory: &Path) -> Result<Self, CompanionError> {
        let config: RawConfig =
            companion::read_json(directory, TOKENIZER_CONFIG_JSON, MAX_CONFIG_BYTES)?.unwrap_or_default();
        let map: Map<String, Value> =
            companion::read_json(directory, SPECIAL_TOKENS_MAP_JSON, MAX_CONFIG_BYTES)?.unwrap_or_default();
        // The configuration has the last word.
        let mut special_tokens = special_tokens(&map);
        special_tokens.extend(self::special_tokens(&config.rest));
        let mut chat_templates = match config.chat_template {
            None => BTreeMap::new(),
            Some(RawTemplates::One(template)) => BTreeMap::from([(DEFAULT_TEMPLATE.to_owned(), template)]),
            Some(RawTemplates::Named(named)) => {
                named.into_iter().map(|NamedTemplate { name, template }| (name, template)).collect()
            }
        };
        if let Some(template) = companion::read(directory, CHAT_TEMPLATE_JINJA, MAX_CONFIG_BYTES)? {
            chat_templates.insert(DEFAULT_TEMPLATE.to_owned(), template);
        }
        for name in additional_templates(directory) {
            let file = format!("{ADDITIONAL_TEMPLATES}/{name}.jinja");
            if let Some(template) = companion::read(directory, &file, MAX_CONFIG_BYTES)? {
                chat_templates.insert(name, template);
            }
        }
        Ok(Self { special_tokens, chat_templates })
    }

    /// The spelling of the special token of this name.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name)?.as_str()
    }
}

/// Names of the templates in files of their own, sorted.
fn additional_templates(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory.join(ADDITIONAL_TEMPLATES)) else { return Vec::new() };
    let name = |entry: fs_err::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".jinja")?.to_owned());
    let mut names: Vec<String> = entries.filter_map(Result::ok).filter_map(name).take(MAX_TEMPLATES).collect();
    names.sort();
    names
}

fn special_tokens(config: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut tokens = BTreeMap::new();
    let extra = config.get(EXTRA_SPECIAL_TOKENS).and_then(Value::as_object);
    let named = SPECIAL_TOKENS.iter().filter_map(|name| Some(((*name).to_owned(), config.get(*name)?)));
    for (name, value) in named.chain(extra.into_iter().flatten().map(|(name, value)| (name.clone(), value))) {
        if let Some(spelling) = spelling(value) {
            tokens.insert(name, Value::String(spelling.to_owned()));
        }
    }
    if let Some(list) = config.get(ADDITIONAL_SPECIAL_TOKENS).and_then(Value::as_array) {
        let list: Vec<Value> = list.iter().filter_map(spelling).map(|text| Value::String(text.to_owned())).collect();
        if !list.is_empty() {
            tokens.insert(ADDITIONAL_SPECIAL_TOKENS.to_owned(), Value::Array(list));
        }
    }
    tokens
}

/// A token is written as its spelling, or as an object that has it.
fn spelling(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}
