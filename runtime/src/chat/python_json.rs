//! JSON as Python's `json.dumps` writes it, because templates were written for that.

use std::fmt::Write as _;

use serde_json::Value;

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 128;

/// How to write; the names are those of `json.dumps`.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonStyle {
    /// Spaces, or other text, per level; one line where it is not given.
    pub(super) indent: Option<String>,
    /// Between items, and between key and value.
    pub(super) separators: Option<(String, String)>,
    /// Whether keys are sorted.
    pub(super) sort_keys: bool,
    /// Whether everything but ASCII is escaped.
    pub(super) ensure_ascii: bool,
}

/// A value that is nested too deeply to be written.
#[derive(Debug, thiserror::Error)]
#[error("a value is nested more than {MAX_DEPTH} levels deep")]
pub(super) struct TooDeep;

/// Writes a value.
pub(super) fn write(value: &Value, style: &JsonStyle) -> Result<String, TooDeep> {
    let mut text = String::new();
    Writer { style }.value(&mut text, value, 0)?;
    Ok(text)
}

struct Writer<'style> {
    style: &'style JsonStyle,
}

impl Writer<'_> {
    fn value(&self, text: &mut String, value: &Value, depth: usize) -> Result<(), TooDeep> {
        if depth > MAX_DEPTH {
            return Err(TooDeep);
        }
        match value {
            Value::Null => text.push_str("null"),
            Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => text.push_str(&float_repr(float)),
                None => text.push_str(&number.to_string()),
            },
            Value::String(string) => self.string(text, string),
            Value::Array(items) if items.is_empty() => text.push_str("[]"),
            Value::Array(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.start_item(text, index, depth);
                    self.value(text, item, depth + 1)?;
                }
                self.end(text, depth);
                text.push(']');
            }
            Value::Object(map) if map.is_empty() => text.push_str("{}"),
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.style.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                text.push('{');
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    self.start_item(text, index, depth);
                    self.string(text, key);
                    text.push_str(self.style.separators.as_ref().map_or(": ", |(_, colon)| colon));
                    self.value(text, item, depth + 1)?;
                }
                self.end(text, depth);
                text.push('}');
            }
        }
        Ok(())
    }

    fn start_item(&self, text: &mut String, index: usize, depth: usize) {
        if index > 0 {
            let comma = if self.style.indent.is_some() { "," } else { ", " };
            text.push_str(self.style.separators.as_ref().map_or(comma, |(comma, _)| comma));
        }
        self.line(text, depth + 1);
    }

    fn end(&self, text: &mut String, depth: usize) {
        self.line(text, depth);
    }

    fn line(&self, text: &mut String, depth: usize) {
        if let Some(indent) = &self.style.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&self, text: &mut String, string: &str) {
        text.push('"');
        for character in string.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                // Writing to a string cannot fail.
                '\0'..='\u{1f}' => drop(write!(text, "\\u{:04x}", u32::from(character))),
                '\u{7f}'.. if self.style.ensure_ascii && character != '\u{7f}' => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
                _ => text.push(character),
            }
        }
        text.push('"');
    }
}

/// A float as Python's `repr` writes it: the shortest digits, with an exponent only where it is far from 0.
fn float_repr(float: f64) -> String {
    const POSITIONAL: std::ops::Range<i32> = -4..16;
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !POSITIONAL.contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{float:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (float, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5e-5, "-2.5e-05"),
            (1e-4, "0.0001"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (-0.0, "-0.0"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(float_repr(float), expected);
        }
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let mut value = Value::Null;
        for _ in 0..=MAX_DEPTH {
            value = Value::Array(vec![value]);
        }
        assert!(write(&value, &JsonStyle::default()).is_err());
    }
}
