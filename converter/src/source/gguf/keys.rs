//! The metadata of a model as its architecture asks for it, and what nobody has asked for.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::error::GgufError;
use super::metadata::{Asked, Metadata, Value, shown, wrong};

/// The keys of an architecture: those that begin with its name.
pub(super) struct Keys<'a> {
    /// The first file, which has the metadata.
    pub(super) bytes: &'a [u8],
    pub(super) metadata: &'a Metadata,
    pub(super) shapes: &'a BTreeMap<&'a str, &'a [usize]>,
    /// Rotary factors, where the file has them.
    pub(super) rope_factors: Option<Vec<f32>>,
    prefix: String,
    asked: Asked,
}

impl<'a> Keys<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        metadata: &'a Metadata,
        shapes: &'a BTreeMap<&'a str, &'a [usize]>,
        rope_factors: Option<Vec<f32>>,
    ) -> Result<Self, GgufError> {
        let architecture = metadata.optional_string(bytes, "general.architecture")?.unwrap_or_default();
        let prefix = format!("{architecture}.");
        Ok(Self { bytes, metadata, shapes, rope_factors, prefix, asked: Asked::default() })
    }

    fn key(&mut self, key: &str) -> String {
        let key = format!("{}{key}", self.prefix);
        self.asked.ask(&key);
        key
    }

    /// Marks a key as known.
    pub(super) fn ask(&mut self, key: &str) {
        self.key(key);
    }

    pub(super) fn size(&mut self, key: &str) -> Result<Option<u64>, GgufError> {
        let key = self.key(key);
        self.metadata.optional_unsigned(&key)
    }

    pub(super) fn required_size(&mut self, key: &str) -> Result<u64, GgufError> {
        self.size(key)?.ok_or_else(|| self.missing(key, "an integer of 0 or more"))
    }

    /// Requires a size to be absent or this.
    pub(super) fn only_size(&mut self, key: &str, expected: u64) -> Result<(), GgufError> {
        match self.size(key)? {
            Some(found) if found != expected => Err(GgufError::Value {
                key: format!("{}{key}", self.prefix),
                expected: format!("{expected}, the channels of a head"),
                found: found.to_string(),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn float(&mut self, key: &str) -> Result<Option<f64>, GgufError> {
        let key = self.key(key);
        self.metadata.optional_float(&key)
    }

    pub(super) fn required_float(&mut self, key: &str) -> Result<f64, GgufError> {
        self.float(key)?.ok_or_else(|| self.missing(key, "a number"))
    }

    /// A string of the architecture.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<&'a str>, GgufError> {
        let key = self.key(key);
        self.metadata.optional_string(self.bytes, &key)
    }

    /// A string by its whole key.
    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        self.metadata.optional_string(self.bytes, key)
    }

    pub(super) fn tensor_shape(&self, name: &str) -> Option<&'a [usize]> {
        self.shapes.get(name).copied()
    }

    fn missing(&self, key: &str, expected: &str) -> GgufError {
        let key = format!("{}{key}", self.prefix);
        GgufError::Value { key, expected: expected.to_owned(), found: "nothing".to_owned() }
    }

    /// The value of a key that is not what it has to be.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> GgufError {
        let key = format!("{}{key}", self.prefix);
        match self.metadata.get(&key) {
            Some(found) => wrong(&key, expected, found),
            None => GgufError::Value { key, expected: expected.to_owned(), found: "nothing".to_owned() },
        }
    }

    /// Keys of the architecture that nobody has asked for, with their values.
    pub(super) fn unasked(&self) -> Vec<(String, Json)> {
        let keys = self.metadata.keys().filter(|key| key.starts_with(&self.prefix) && !self.asked.has(key));
        let value = |key: &str| match self.metadata.get(key)? {
            Value::Unsigned(value) => Some(json!(value)),
            Value::Signed(value) => Some(json!(value)),
            Value::F32(value) => Some(json!(value)),
            Value::F64(value) => Some(json!(value)),
            Value::Bool(value) => Some(json!(value)),
            other => Some(json!(shown(other))),
        };
        keys.filter_map(|key| Some((key.to_owned(), value(key)?))).collect()
    }
}
