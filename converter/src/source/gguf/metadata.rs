//! The keys and values of a GGUF file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::error::GgufError;
use super::header::Cursor;

/// A value; long ones by where they are in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(Range<usize>),
    Array(Array),
}

/// Elements of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Array {
    /// The number of the type.
    pub(super) element: u32,
    pub(super) count: u64,
    pub(super) bytes: Range<usize>,
}

/// Numbers of types of array elements.
const F32: u32 = 6;
const STRING: u32 = 8;

/// The keys of a file. Readers take `bytes`, the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) fn new(values: BTreeMap<String, Value>) -> Self {
        Self(values)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(super) fn optional_unsigned(&self, key: &str) -> Result<Option<u64>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => Ok(Some(*value)),
            Some(Value::Signed(value)) if *value >= 0 => Ok(Some(value.unsigned_abs())),
            Some(other) => Err(wrong(key, "an integer of 0 or more", other)),
        }
    }

    pub(super) fn optional_float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            // The shortest decimals that give the same fp32 are those that people wrote: 1e-5 and not 9.99999974e-6.
            Some(Value::F32(value)) => Ok(Some(value.to_string().parse().unwrap_or_else(|_| f64::from(*value)))),
            Some(Value::F64(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(key, "a number", other)),
        }
    }

    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(key, "true or false", other)),
        }
    }

    pub(super) fn optional_string<'a>(&self, bytes: &'a [u8], key: &str) -> Result<Option<&'a str>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(range)) => text(bytes, range).map(Some),
            Some(other) => Err(wrong(key, "a string", other)),
        }
    }

    /// An array of strings; none where the key is not there.
    pub(super) fn strings<'a>(&self, bytes: &'a [u8], key: &str) -> Result<Option<Vec<&'a str>>, GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let Value::Array(array @ Array { element: STRING, .. }) = value else {
            return Err(wrong(key, "an array of strings", value));
        };
        let mut cursor = Cursor { bytes: bytes.get(..array.bytes.end).unwrap_or_default(), at: array.bytes.start };
        let mut strings = Vec::new();
        for _ in 0..array.count {
            let at = cursor.at as u64;
            let length = cursor.u64()?;
            strings.push(std::str::from_utf8(cursor.take(length)?).map_err(|_| GgufError::Utf8 { at })?);
        }
        Ok(Some(strings))
    }

    /// An array of integers, as 32 bits; none where the key is not there.
    pub(super) fn integers(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<i32>>, GgufError> {
        self.words(bytes, key, "an array of 32-bit integers", &[4, 5], i32::from_le_bytes)
    }

    /// An array of floats; none where the key is not there.
    pub(super) fn floats(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        self.words(bytes, key, "an array of 32-bit floats", &[F32], f32::from_le_bytes)
    }

    fn words<T>(
        &self,
        bytes: &[u8],
        key: &str,
        expected: &str,
        elements: &[u32],
        read: fn([u8; 4]) -> T,
    ) -> Result<Option<Vec<T>>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) if elements.contains(&array.element) => {
                let words = bytes.get(array.bytes.clone()).unwrap_or_default().as_chunks().0;
                Ok(Some(words.iter().map(|word| read(*word)).collect()))
            }
            Some(other) => Err(wrong(key, expected, other)),
        }
    }
}

/// Keys that were asked for, so that the others can be told.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeSet<String>);

impl Asked {
    pub(super) fn ask(&mut self, key: &str) {
        self.0.insert(key.to_owned());
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

fn text<'a>(bytes: &'a [u8], range: &Range<usize>) -> Result<&'a str, GgufError> {
    let found = bytes.get(range.clone()).unwrap_or_default();
    std::str::from_utf8(found).map_err(|_| GgufError::Utf8 { at: range.start as u64 })
}

pub(super) fn wrong(key: &str, expected: &str, found: &Value) -> GgufError {
    GgufError::Value { key: key.to_owned(), expected: expected.to_owned(), found: shown(found) }
}

/// A value as a message shows it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Unsigned(value) => value.to_string(),
        Value::Signed(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::String(range) => format!("a string of {} bytes", range.len()),
        Value::Array(array) => format!("an array of {} elements", array.count),
    }
}
