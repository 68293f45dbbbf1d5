//! What stands between people and tokens: tokenizer, chat template, messages.

use std::collections::BTreeMap;
use std::path::Path;

use anec_runtime::chat::{ChatError, Conversation, IsolatedTemplate, Renderer, message};
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer, TokenizerConfig};
use fs_err as fs;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::RunError;
use crate::commands::RENDER_CHAT_TEMPLATE;

/// The chat template of a model and what it is filled with.
pub(super) struct Texts {
    pub(super) config: TokenizerConfig,
    pub(super) template: Option<IsolatedTemplate>,
    variables: BTreeMap<String, Value>,
    tools: Option<Vec<Value>>,
}

/// What was said so far.
#[derive(Clone, Default)]
pub(super) struct Turns {
    pub(super) messages: Vec<Value>,
    /// The same for models without a chat template.
    transcript: String,
}

/// What the model is given.
pub(super) struct Prompt {
    pub(super) tokens: Vec<u32>,
    /// Whether the answer goes on with the text, rather than being a text of its own.
    continues: bool,
}

impl Prompt {
    /// Tokens that are continued as they are.
    pub(super) fn of(tokens: Vec<u32>) -> Self {
        Self { tokens, continues: true }
    }

    /// The tokens whose text decides how the answer begins.
    pub(super) fn context(&self) -> &[u32] {
        if self.continues { &self.tokens } else { &[] }
    }
}

impl Turns {
    /// The start of a conversation.
    pub(super) fn new(system: Option<&str>) -> Self {
        Self { messages: system.map(|text| message("system", text)).into_iter().collect(), transcript: String::new() }
    }

    /// A conversation that goes on.
    pub(super) fn of(messages: Vec<Value>) -> Self {
        Self { messages, transcript: String::new() }
    }

    /// The conversation with something that the user says.
    pub(super) fn with_user(mut self, text: &str) -> Self {
        self.messages.push(message("user", text));
        if !self.transcript.is_empty() {
            self.transcript.push('\n');
        }
        self.transcript.push_str(text);
        self
    }

    /// The conversation with the answer to it.
    pub(super) fn with_assistant(mut self, text: &str) -> Self {
        self.messages.push(message("assistant", text));
        self.transcript.push_str(text);
        self
    }
}

impl Texts {
    /// Reads the files of a directory.
    pub(super) fn open(
        directory: &Path,
        variables: &[(String, Value)],
        tools: Option<&Path>,
    ) -> Result<Self, RunError> {
        let config = TokenizerConfig::open(directory)?;
        Ok(Self {
            template: IsolatedTemplate::new(&config, renderer()?)?,
            config,
            variables: variables.iter().cloned().collect(),
            tools: tools.map(read_list).transpose()?,
        })
    }

    /// The text that the model is given.
    pub(super) fn render(&self, turns: &Turns) -> Result<String, RunError> {
        let Some(template) = &self.template else { return Ok(turns.transcript.clone()) };
        Ok(template.render(&Conversation {
            messages: &turns.messages,
            tools: self.tools.as_deref(),
            add_generation_prompt: true,
            now: jiff::Zoned::now().datetime(),
            variables: &self.variables,
        })?)
    }

    /// The tokens that the model is given.
    pub(super) fn encode(&self, turns: &Turns, tokenizer: &TextTokenizer) -> Result<Prompt, RunError> {
        // Templates write the special tokens themselves.
        let special = if self.template.is_some() { SpecialTokens::Present } else { SpecialTokens::Add };
        let tokens = tokenizer.encode(&self.render(turns)?, special)?;
        Ok(Prompt { tokens, continues: self.template.is_none() })
    }
}

/// This program, as the process that renders templates.
fn renderer() -> Result<Renderer, RunError> {
    let program = std::env::current_exe().map_err(ChatError::Process)?;
    Ok(Renderer { program, argument: RENDER_CHAT_TEMPLATE })
}

/// A JSON file that holds a list.
pub(super) fn read_list<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunError> {
    let text = fs::read(path).map_err(|source| RunError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| RunError::List { path: path.to_owned(), source })
}

/// `NAME=VALUE`; what is no JSON is text.
pub(super) fn parse_variable(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            Ok((name.to_owned(), value))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
