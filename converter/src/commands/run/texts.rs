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

/// The role of who asks.
const USER: &str = "user";
/// The role of who sets the scene.
const SYSTEM: &str = "system";

/// The chat template of a model and what it is filled with.
pub(in crate::commands) struct Texts {
    pub(super) config: TokenizerConfig,
    pub(super) template: Option<IsolatedTemplate>,
    variables: BTreeMap<String, Value>,
    tools: Option<Vec<Value>>,
}

/// What was said so far.
#[derive(Clone, Default)]
pub(in crate::commands) struct Turns {
    pub(super) messages: Vec<Value>,
}

/// What the model is given.
pub(in crate::commands) struct Prompt {
    pub(in crate::commands) tokens: Vec<u32>,
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
        Self { messages: system.map(|text| message(SYSTEM, text)).into_iter().collect() }
    }

    /// A conversation that goes on.
    pub(in crate::commands) fn of(messages: Vec<Value>) -> Self {
        Self { messages }
    }

    /// The conversation with something that the user says.
    pub(in crate::commands) fn with_user(mut self, text: &str) -> Self {
        self.messages.push(message(USER, text));
        self
    }

    /// The conversation with the answer to it.
    pub(super) fn with_assistant(mut self, text: &str) -> Self {
        self.messages.push(message("assistant", text));
        self
    }

    /// Drops the oldest message of the user and what was answered to it; system messages stay, and so does the last
    /// message of the user. Whether there was one to drop.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let of_user = |message: &Value| role(message) == USER;
        let Some(first) = self.messages.iter().position(of_user) else { return false };
        let next = self.messages.iter().skip(first + 1).position(of_user);
        let Some(next) = next.map(|after| first + 1 + after) else { return false };
        let mut at = 0..;
        self.messages.retain(|message| {
            let at = at.next().unwrap_or_default();
            !(first..next).contains(&at) || role(message) == SYSTEM
        });
        true
    }

    /// The conversation for models without a chat template: messages of the user in lines of their own.
    fn transcript(&self) -> String {
        self.messages.iter().fold(String::new(), |mut text, message| {
            if role(message) == USER && !text.is_empty() {
                text.push('\n');
            }
            text + message["content"].as_str().unwrap_or_default()
        })
    }
}

fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

impl Texts {
    /// Whether text is put into a template.
    pub(in crate::commands) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Takes text as it is from now on.
    pub(in crate::commands) fn without_template(&mut self) {
        self.template = None;
    }

    /// What `tokenizer_config.json` says.
    pub(in crate::commands) fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// Reads the files of a directory.
    pub(in crate::commands) fn open(
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
        let Some(template) = &self.template else { return Ok(turns.transcript()) };
        Ok(template.render(&Conversation {
            messages: &turns.messages,
            tools: self.tools.as_deref(),
            add_generation_prompt: true,
            now: jiff::Zoned::now().datetime(),
            variables: &self.variables,
        })?)
    }

    /// The tokens that the model is given.
    pub(in crate::commands) fn encode(&self, turns: &Turns, tokenizer: &TextTokenizer) -> Result<Prompt, RunError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_turn_goes_first_and_the_system_message_never() {
        let mut turns = Turns::new(Some("Be brief.")).with_user("a").with_assistant("A").with_user("b");
        let contents = |turns: &Turns| -> Vec<String> {
            turns.messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert!(turns.drop_oldest());
        assert_eq!(contents(&turns), ["Be brief.", "b"]);
        assert!(!turns.drop_oldest(), "the question itself stays");
        assert_eq!(contents(&turns), ["Be brief.", "b"]);
    }

    #[test]
    fn a_model_without_template_goes_on_with_the_text() {
        let turns = Turns::default().with_user("Once").with_assistant(" upon a time").with_user("And then");
        assert_eq!(turns.transcript(), "Once upon a time\nAnd then");
    }
}
