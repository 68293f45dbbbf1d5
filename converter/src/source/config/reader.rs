//! Strict reading of config.json, key by key.
//!
//! An adapter asks for the keys that its architecture has; asking is what makes a key known. Values that are not as they
//! have to be are collected, not returned, so that a user sees all of them at once; a placeholder stands in until
//! [`ConfigReader::finish`]. Reading by hand and not through derived code is what lets an error name its key.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::keys::{HARMLESS, sounds_like_maths};
use super::{ConfigError, UnknownKey, Violation};

/// Characters of a value that a message shows.
const SHOWN_CHARACTERS: usize = 80;

/// What becomes of keys that nothing is known about and that do not sound like maths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownKeys {
    /// The user is told their names.
    #[default]
    Tell,
    /// They are errors, as those that sound like maths always are.
    Refuse,
}

/// Reads the keys of a config, or of an object inside it.
#[derive(Debug)]
pub struct ConfigReader<'a> {
    map: &'a Map<String, Value>,
    /// What goes before keys in messages: empty, or the key of this object and a dot.
    prefix: String,
    known: BTreeSet<String>,
    ignored: &'a [String],
    violations: Vec<Violation>,
    /// Unknown keys that may change what the model computes.
    unknown: Vec<UnknownKey>,
    /// Keys that are not read, which the user should hear of.
    unread: Vec<UnknownKey>,
}

/// Whether a value says as much as its absence.
pub(crate) fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) | Value::String(_) | Value::Bool(true) => false,
    }
}

/// A value as JSON, cut where it is long.
pub(crate) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

impl<'a> ConfigReader<'a> {
    /// Starts reading a config; keys in `ignored` may be there without being known.
    pub fn new(map: &'a Map<String, Value>, ignored: &'a [String]) -> Self {
        let known = HARMLESS.iter().flat_map(|keys| keys.iter()).map(|key| (*key).to_owned()).collect();
        let (violations, unknown, unread) = (Vec::new(), Vec::new(), Vec::new());
        Self { map, prefix: String::new(), known, ignored, violations, unknown, unread }
    }

    /// Marks a key as known and gives its value, if it is there; null is a value.
    pub fn value(&mut self, key: &str) -> Option<&'a Value> {
        self.known.insert(key.to_owned());
        self.map.get(key)
    }

    /// As [`value`](Self::value), with null, false and empty collections taken for absence.
    pub fn set_value(&mut self, key: &str) -> Option<&'a Value> {
        self.value(key).filter(|value| !is_unset(value))
    }

    /// Whether nothing has been found wrong with a key yet: what follows from a placeholder is not worth a message.
    pub fn is_sound(&self, key: &str) -> bool {
        let key = format!("{}{key}", self.prefix);
        !self.violations.iter().any(|violation| violation.key == key)
    }

    /// Records a value that is not as it has to be; the first one of a key counts.
    pub fn violation(&mut self, key: &str, expected: impl Into<String>, found: impl Into<String>) {
        if !self.is_sound(key) {
            return;
        }
        let key = format!("{}{key}", self.prefix);
        self.violations.push(Violation { key, expected: expected.into(), found: found.into() });
    }

    /// A positive integer of at most `limit`; where the key is absent, `default`, or a violation if there is none.
    pub fn size(&mut self, key: &str, limit: usize, default: Option<usize>) -> usize {
        match (self.value(key), default) {
            (None, Some(default)) => default,
            (value, _) => self.checked_size(key, limit, value),
        }
    }

    /// A positive integer of at most `limit`; none where the key is absent or null.
    pub fn optional_size(&mut self, key: &str, limit: usize) -> Option<usize> {
        let value = self.value(key).filter(|value| !value.is_null())?;
        Some(self.checked_size(key, limit, Some(value)))
    }

    fn checked_size(&mut self, key: &str, limit: usize, value: Option<&Value>) -> usize {
        let size = value.and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=limit).contains(size)).unwrap_or_else(|| {
            self.violation(key, format!("an integer of 1 to {limit}"), found_text(value));
            1
        })
    }

    /// A finite number for which `accepted` holds, described by `expected`; where the key is absent, `default`, or a
    /// violation if there is none.
    pub fn number(&mut self, key: &str, expected: &str, accepted: fn(f64) -> bool, default: Option<f64>) -> f64 {
        match (self.value(key), default) {
            (None, Some(default)) => default,
            (value, _) => self.checked_number(key, expected, accepted, value),
        }
    }

    /// As [`number`](Self::number); none where the key is absent or null.
    pub fn optional_number(&mut self, key: &str, expected: &str, accepted: fn(f64) -> bool) -> Option<f64> {
        let value = self.value(key).filter(|value| !value.is_null())?;
        Some(self.checked_number(key, expected, accepted, Some(value)))
    }

    fn checked_number(&mut self, key: &str, expected: &str, accepted: fn(f64) -> bool, value: Option<&Value>) -> f64 {
        let number = value.and_then(Value::as_f64).filter(|number| number.is_finite() && accepted(*number));
        number.unwrap_or_else(|| {
            self.violation(key, expected, found_text(value));
            1.0
        })
    }

    /// A boolean; `default` where the key is absent.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.value(key) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(other) => {
                self.violation(key, "true or false", shortened(other));
                default
            }
        }
    }

    /// Requires a key to be absent, null, or this value.
    pub fn only(&mut self, key: &str, value: &Value) {
        let same = |found: &Value| match (found.as_f64(), value.as_f64()) {
            (Some(found), Some(value)) => found.total_cmp(&value).is_eq(),
            _ => found == value,
        };
        if let Some(found) = self.value(key).filter(|found| !found.is_null() && !same(found)) {
            self.violation(key, value.to_string(), shortened(found));
        }
    }

    /// Reads an object under a key with its own reader, if it is there and not empty. No key in it is known from outside.
    pub fn object<T>(&mut self, key: &str, read: impl FnOnce(&mut ConfigReader<'a>) -> T) -> Option<T> {
        let value = self.set_value(key)?;
        let Value::Object(map) = value else {
            self.violation(key, "an object or null", shortened(value));
            return None;
        };
        let prefix = format!("{}{key}.", self.prefix);
        let (known, violations, unknown, unread) = (BTreeSet::new(), Vec::new(), Vec::new(), Vec::new());
        let mut inner = ConfigReader { map, prefix, known, ignored: self.ignored, violations, unknown, unread };
        let result = read(&mut inner);
        inner.collect_unknown();
        self.violations.append(&mut inner.violations);
        self.unknown.append(&mut inner.unknown);
        self.unread.append(&mut inner.unread);
        Some(result)
    }

    /// Marks a key that the reference implementation does not read, though its name promises something. The user is
    /// told where it is there.
    pub fn unread(&mut self, key: &str) {
        if let Some(value) = self.set_value(key) {
            let key = format!("{}{key}", self.prefix);
            if !self.ignored.contains(&key) {
                self.unread.push(UnknownKey { key, found: shortened(value) });
            }
        }
    }

    /// Keys of an object inside the config are all about maths: no tool puts other things there.
    fn collect_unknown(&mut self) {
        for (key, value) in self.map {
            let key_path = format!("{}{key}", self.prefix);
            let is_private = key.starts_with('_');
            if is_unset(value) || is_private || self.known.contains(key) || self.ignored.contains(&key_path) {
                continue;
            }
            let unknown = UnknownKey { key: key_path, found: shortened(value) };
            if sounds_like_maths(key) || !self.prefix.is_empty() {
                self.unknown.push(unknown);
            } else {
                self.unread.push(unknown);
            }
        }
    }

    /// Ends reading, and gives the keys that were not read though they may matter to the user, sorted. With
    /// [`UnknownKeys::Refuse`] these are errors too.
    ///
    /// # Errors
    /// Values that are not as they have to be or, where there are none of those, keys that nothing has asked for and
    /// that may change what the model computes.
    pub fn finish(mut self, unknown_keys: UnknownKeys) -> Result<Vec<UnknownKey>, ConfigError> {
        self.collect_unknown();
        if unknown_keys == UnknownKeys::Refuse {
            self.unknown.append(&mut self.unread);
        }
        self.violations.sort();
        self.unknown.sort();
        self.unread.sort();
        if !self.violations.is_empty() {
            return Err(ConfigError::Violations(self.violations));
        }
        if self.unknown.is_empty() { Ok(self.unread) } else { Err(ConfigError::UnknownKeys(self.unknown)) }
    }
}

fn found_text(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), shortened)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T>(
        config: &Value,
        ignored: &[&str],
        read: impl FnOnce(&mut ConfigReader<'_>) -> T,
    ) -> Result<T, ConfigError> {
        let ignored: Vec<String> = ignored.iter().map(|key| (*key).to_owned()).collect();
        let mut reader = ConfigReader::new(config.as_object().expect("an object"), &ignored);
        let result = read(&mut reader);
        reader.finish(UnknownKeys::Tell).map(|_| result)
    }

    fn violated(config: &Value, reader: impl FnOnce(&mut ConfigReader<'_>)) -> Vec<String> {
        match read(config, &[], reader) {
            Err(ConfigError::Violations(violations)) => violations.iter().map(ToString::to_string).collect(),
            other => panic!("expected violations, found {other:?}"),
        }
    }

    #[test]
    fn every_violation_is_reported_with_key_expectation_and_value() {
        let config = json!({"z": "4", "a": 0, "b": 1.5, "c": -3, "d": 1_u64 << 40, "e": null});
        let violations = violated(&config, |reader| {
            for key in ["z", "a", "b", "c", "d", "e", "f"] {
                reader.size(key, 100, None);
            }
        });
        let expected = |key: &str, found: &str| format!("`{key}`: expected an integer of 1 to 100, found {found}");
        let found = [
            ("a", "0"),
            ("b", "1.5"),
            ("c", "-3"),
            ("d", "1099511627776"),
            ("e", "null"),
            ("f", "nothing"),
            ("z", "\"4\""),
        ];
        assert_eq!(violations, found.map(|(key, found)| expected(key, found)));
    }

    #[test]
    fn unknown_keys_are_listed_sorted_unless_they_say_nothing_or_are_ignored() {
        let config = json!({
            "zeta_norm": 1, "alpha": "x", "off": false, "none": null, "empty": {}, "beta": [1], "story": 5,
            "torch_dtype": "bfloat16", "inner": {"known": 1, "gamma": 2, "delta": 3},
        });
        let result = read(&config, &["beta", "inner.delta"], |reader| {
            reader.object("inner", |inner| inner.size("known", 9, None));
        });
        let Err(ConfigError::UnknownKeys(keys)) = &result else { panic!("{result:?}") };
        assert_eq!(
            keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["`alpha`: \"x\"", "`inner.gamma`: 2", "`zeta_norm`: 1"]
        );
        let hint = result.map_err(|error| crate::error::Hint::hint(&error));
        assert!(hint.is_err_and(|hint| hint.is_some_and(|hint| hint.contains("--ignore-config-key inner.gamma"))));
    }

    #[test]
    fn unknown_keys_that_do_not_sound_like_maths_are_told_or_refused_as_asked() {
        let config = json!({"story": 5, "_private": 1, "temperature": 0.6});
        let finish = |unknown_keys| ConfigReader::new(config.as_object().expect("an object"), &[]).finish(unknown_keys);
        let told = finish(UnknownKeys::Tell).expect("accepted");
        assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), ["`story`: 5"]);
        assert!(matches!(finish(UnknownKeys::Refuse), Err(ConfigError::UnknownKeys(keys)) if keys == told));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let shown = shortened(&json!("é".repeat(500)));
        assert_eq!(shown.chars().count(), SHOWN_CHARACTERS + 1);
    }

    #[test]
    fn an_only_key_compares_numbers_by_value() {
        assert!(
            read(&json!({"a": 1, "b": 1.0, "c": null}), &[], |reader| {
                for key in ["a", "b", "c", "d"] {
                    reader.only(key, &json!(1));
                }
            })
            .is_ok()
        );
        assert_eq!(violated(&json!({"a": 2}), |reader| reader.only("a", &json!(1))), ["`a`: expected 1, found 2"]);
    }
}
