//! Prompts from a file.

use std::io::Read as _;
use std::path::Path;

use fs_err as fs;
use serde_json::Value;

use crate::commands::run::Turns;
use crate::console::Failure;

/// Largest file.
const MAX_BYTES: u64 = 1 << 24;

/// A prompt.
pub(super) struct Prompt {
    /// The line that it stands in, from 1 on.
    pub(super) line: usize,
    /// What people see of it.
    pub(super) text: String,
    /// What the model is given.
    pub(super) turns: Turns,
}

/// The prompts of a file; empty lines are none.
///
/// # Errors
/// It cannot be read, has no prompt, or a line is no JSON where it should be.
pub(super) fn read(path: &Path) -> Result<Vec<Prompt>, Failure> {
    let failed = |message: String, hint: Option<&str>| Failure { message, hint: hint.map(str::to_owned) };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|error| failed(error.to_string(), None))?;
    let is_json = path.extension().is_some_and(|extension| extension == "jsonl");
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let prompts = lines.map(|(text, line)| {
        let prompt = if is_json { of_json(text) } else { Some(of_text(text)) };
        let (text, turns) = prompt.ok_or_else(|| {
            let hint = "expected a JSON string, or an object with `prompt` or `messages`";
            failed(format!("Cannot read line {line} of `{}`", path.display()), Some(hint))
        })?;
        Ok(Prompt { line, text, turns })
    });
    let prompts: Vec<Prompt> = prompts.collect::<Result<_, Failure>>()?;
    if prompts.is_empty() {
        return Err(failed(format!("`{}` has no prompt", path.display()), None));
    }
    Ok(prompts)
}

fn of_text(text: &str) -> (String, Turns) {
    (text.to_owned(), Turns::default().with_user(text))
}

fn of_json(line: &str) -> Option<(String, Turns)> {
    let value: Value = serde_json::from_str(line).ok()?;
    if let Some(text) = value.as_str().or_else(|| value.get("prompt")?.as_str()) {
        return Some(of_text(text));
    }
    let messages = value.get("messages")?.as_array()?.clone();
    let last = messages.last()?.get("content")?.as_str()?.to_owned();
    Some((last, Turns::of(messages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_lines_or_json() {
        let directory = tempfile::tempdir().expect("temporary");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("writable");
            path
        };
        let found = read(&write("a.txt", "One?\n\n\"Two\"\n")).expect("prompts");
        let found: Vec<(usize, &str)> = found.iter().map(|prompt| (prompt.line, prompt.text.as_str())).collect();
        assert_eq!(found, [(1, "One?"), (3, "\"Two\"")]);
        let lines = "\"One?\"\n{\"prompt\": \"Two\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Three\"}]}\n";
        let found = read(&write("a.jsonl", lines)).expect("prompts");
        assert_eq!(found.iter().map(|prompt| prompt.text.as_str()).collect::<Vec<_>>(), ["One?", "Two", "Three"]);
        for wrong in ["", "\n", "not json\n", "{}\n", "{\"messages\": []}\n"] {
            assert!(read(&write("b.jsonl", wrong)).is_err(), "{wrong}");
        }
    }
}
