//! The header of a GGUF file: its metadata, and where its tensors are.
//!
//! Arrays and strings stay in the file and are read where somebody asks for them, so that what is in memory is bounded by
//! the number of keys and tensors, whatever lengths the file claims. candle's reader copies them all, with 32 bytes for
//! every element, and takes what is not UTF-8 for something else.
//!
//! # Source
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::GgufError;
use super::metadata::{Array, Metadata, Value};

/// What a file starts with.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// Where tensors start, and each of them, unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Most axes of a tensor, `GGML_MAX_DIMS`.
const MAX_AXES: u32 = 4;

/// Most keys and tensors; the largest models have some thousands of tensors and some dozens of keys.
const MAX_KEYS: u64 = 1 << 14;
const MAX_TENSORS: u64 = 1 << 16;

/// Longest name of a key or a tensor in bytes.
const MAX_NAME: u64 = 1 << 16;

/// Deepest arrays of arrays.
const MAX_DEPTH: usize = 4;

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    /// Slowest axis first, as everywhere else here; the file has them the other way round.
    pub(super) shape: Vec<usize>,
    /// The number of its element type.
    pub(super) ggml_type: u32,
    /// Where it starts, from the start of the file.
    pub(super) start: u64,
}

/// What a file says before its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorEntry>,
}

/// Reads the header of a file.
///
/// # Errors
/// It is no GGUF file, of another version or byte order, or ends within its header; or a name or a shape makes no sense.
pub(super) fn read(bytes: &[u8]) -> Result<Header, GgufError> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != MAGIC {
        return Err(GgufError::Magic { found: bytes.iter().take(4).copied().collect() });
    }
    let version = cursor.u32()?;
    if ![2, 3].contains(&version) {
        // The other byte order shows in the version, which is small.
        return Err(if version.swap_bytes() <= 3 {
            GgufError::ByteOrder
        } else {
            GgufError::Version { found: version }
        });
    }
    let tensors = cursor.count("tensors", MAX_TENSORS)?;
    let keys = cursor.count("keys", MAX_KEYS)?;
    let mut values = BTreeMap::new();
    for _ in 0..keys {
        let key = cursor.name()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0)?;
        if values.insert(key.clone(), value).is_some() {
            return Err(GgufError::Twice { what: "key", name: key });
        }
    }
    let metadata = Metadata::new(values);
    let alignment = metadata.optional_unsigned("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        return Err(GgufError::Value {
            key: "general.alignment".to_owned(),
            expected: "a power of two".to_owned(),
            found: alignment.to_string(),
        });
    }
    let mut entries = Vec::new();
    for _ in 0..tensors {
        entries.push(cursor.tensor()?);
    }
    let data = (cursor.at as u64).checked_next_multiple_of(alignment).ok_or_else(|| cursor.short(alignment))?;
    for entry in &mut entries {
        entry.start = data.checked_add(entry.start).ok_or_else(|| cursor.short(u64::MAX))?;
    }
    Ok(Header { metadata, tensors: entries })
}

/// Reads numbers of a file from its start on; every length is held against what is left of it.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    fn short(&self, needed: u64) -> GgufError {
        GgufError::Short { at: self.at as u64, needed, left: (self.bytes.len() - self.at.min(self.bytes.len())) as u64 }
    }

    fn range(&mut self, length: u64) -> Result<Range<usize>, GgufError> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let end = end.filter(|end| *end <= self.bytes.len()).ok_or_else(|| self.short(length))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], GgufError> {
        let range = self.range(length)?;
        Ok(self.bytes.get(range).unwrap_or_default())
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], GgufError> {
        let bytes = self.take(SIZE as u64)?;
        Ok(*bytes.first_chunk().expect("as many bytes as were taken"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn count(&mut self, what: &'static str, most: u64) -> Result<u64, GgufError> {
        let found = self.u64()?;
        if found > most { Err(GgufError::Count { what, found, most }) } else { Ok(found) }
    }

    fn name(&mut self) -> Result<String, GgufError> {
        let at = self.at as u64;
        let length = self.u64()?;
        if length > MAX_NAME {
            return Err(GgufError::Count { what: "bytes of a name", found: length, most: MAX_NAME });
        }
        let name = std::str::from_utf8(self.take(length)?).map_err(|_| GgufError::Utf8 { at })?;
        Ok(name.to_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, GgufError> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => {
                let length = self.u64()?;
                Value::String(self.range(length)?)
            }
            9 => self.list(depth)?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            found => return Err(GgufError::ValueType { at: self.at as u64, found }),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Value, GgufError> {
        let (element, count) = (self.u32()?, self.u64()?);
        if depth == MAX_DEPTH {
            return Err(GgufError::Count { what: "arrays in arrays", found: depth as u64 + 1, most: MAX_DEPTH as u64 });
        }
        let start = self.at;
        match size(element) {
            Some(size) => {
                let length = count.checked_mul(size).ok_or_else(|| self.short(u64::MAX))?;
                self.range(length)?;
            }
            // Each element takes eight bytes at least, so that the file's length bounds the steps.
            None => {
                for _ in 0..count {
                    self.value(element, depth + 1)?;
                }
            }
        }
        Ok(Value::Array(Array { element, count, bytes: start..self.at }))
    }

    fn tensor(&mut self) -> Result<TensorEntry, GgufError> {
        let name = self.name()?;
        let axes = self.u32()?;
        if axes > MAX_AXES {
            return Err(GgufError::Count { what: "axes of a tensor", found: axes.into(), most: MAX_AXES.into() });
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let size = self.u64()?;
            shape.push(usize::try_from(size).map_err(|_| GgufError::Shape { tensor: name.clone() })?);
        }
        shape.reverse();
        let (ggml_type, start) = (self.u32()?, self.u64()?);
        Ok(TensorEntry { name, shape, ggml_type, start })
    }
}

/// Bytes of a value of a type; none where they vary.
pub(super) fn size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
