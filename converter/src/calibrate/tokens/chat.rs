//! Chats, through the checkpoint's template.

use std::collections::BTreeMap;
use std::path::Path;

use anec_runtime::chat::{ChatTemplate, Conversation, message};
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer, TokenizerConfig};
use jiff::civil::{DateTime, date};
use serde_json::Value;

use crate::calibrate::error::CalibrateError;

/// A chat: messages with `role` and `content`.
pub(super) type Chat = Vec<Value>;

/// The date of templates that tell one: always the same, so that tokens are.
fn now() -> DateTime {
    date(2025, 1, 1).at(12, 0, 0, 0)
}

/// Chats of a JSON lines file: each line a list of messages, or an object with such `messages`.
pub(super) fn read(path: &Path, text: &str) -> Result<Vec<Chat>, CalibrateError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let chat = |(index, line): (usize, &str)| {
        let failed = |problem: String| CalibrateError::Chat { path: path.to_owned(), line: index + 1, problem };
        let value: Value = serde_json::from_str(line).map_err(|error| failed(error.to_string()))?;
        let messages = value.get("messages").unwrap_or(&value).as_array().cloned();
        let messages = messages.ok_or_else(|| failed("expected `messages`, a list".to_owned()))?;
        for message in &messages {
            for key in ["role", "content"] {
                if message.get(key).and_then(Value::as_str).is_none() {
                    return Err(failed(format!("a message without `{key}`")));
                }
            }
        }
        Ok(messages)
    };
    lines.map(chat).collect()
}

/// The tokens of all chats.
pub(super) fn tokens(
    chats: &[Chat],
    config: &TokenizerConfig,
    tokenizer: &TextTokenizer,
) -> Result<Vec<u32>, CalibrateError> {
    let mut tokens = Vec::new();
    for chat in chats {
        tokens.extend(render(chat, false, config, tokenizer)?);
    }
    Ok(tokens)
}

/// The tokens of a prompt with the start of an answer.
pub(super) fn prompt(
    prompt: &str,
    config: &TokenizerConfig,
    tokenizer: &TextTokenizer,
) -> Result<Vec<u32>, CalibrateError> {
    render(&[message("user", prompt)], true, config, tokenizer)
}

fn render(
    messages: &[Value],
    add_generation_prompt: bool,
    config: &TokenizerConfig,
    tokenizer: &TextTokenizer,
) -> Result<Vec<u32>, CalibrateError> {
    let template = ChatTemplate::new(config)?.ok_or(CalibrateError::NoTemplate)?;
    let variables = BTreeMap::new();
    let conversation = Conversation { messages, tools: None, add_generation_prompt, now: now(), variables: &variables };
    Ok(tokenizer.encode(&template.render(&conversation)?, SpecialTokens::Present)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_without_roles_are_refused_by_line() {
        let good = r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}"#;
        assert_eq!(read(Path::new("a.jsonl"), good).expect("a chat").len(), 1);
        let bad = format!("{good}\n\n[{{\"content\": \"Hi\"}}]\n");
        let error = read(Path::new("a.jsonl"), &bad).expect_err("no role");
        assert_eq!(error.to_string(), "Cannot calibrate with a.jsonl, line 3: a message without `role`");
    }
}
