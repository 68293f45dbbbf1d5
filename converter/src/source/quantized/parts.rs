//! The tensors that a quantized weight is made of.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::numbers::Kind;
use crate::source::checkpoint::{CheckpointError, Entry, Part, Shard};

/// Longest description that a tensor holds, in bytes; real ones have some hundreds.
const LONGEST_JSON: usize = 1 << 16;

/// Tensors of the files that are not taken yet.
pub(in crate::source) struct Parts<'a> {
    stored: BTreeMap<String, (usize, Entry)>,
    shards: &'a [Shard],
}

/// A tensor that was taken.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) part: Part,
}

impl<'a> Parts<'a> {
    pub(super) fn new(stored: BTreeMap<String, (usize, Entry)>, shards: &'a [Shard]) -> Self {
        Self { stored, shards }
    }

    pub(super) fn rest(self) -> BTreeMap<String, (usize, Entry)> {
        self.stored
    }

    /// The bytes of a tensor that was taken.
    fn bytes(&self, stored: &Stored) -> &'a [u8] {
        let shard = self.shards.get(stored.part.shard);
        shard.and_then(|shard| shard.bytes().get(stored.part.bytes.clone())).unwrap_or_default()
    }

    /// What a tensor says in JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, stored: &Stored) -> Option<T> {
        let bytes = self.bytes(stored);
        if bytes.len() > LONGEST_JSON { None } else { serde_json::from_slice(bytes).ok() }
    }

    /// The numbers of a short tensor of whole numbers.
    pub(super) fn numbers(&self, stored: &Stored, count: usize) -> Option<Vec<f32>> {
        let bytes = self.bytes(stored);
        (0..count).map(|index| stored.kind.get(bytes, index)).collect()
    }

    /// Takes a tensor, if it is there.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<Stored>, CheckpointError> {
        let Some((shard, entry)) = self.stored.remove(name) else { return Ok(None) };
        let dtype = entry.dtype.clone().map_or_else(|found| found, |dtype| format!("{dtype:?}"));
        let kind = Kind::of(&dtype).ok_or_else(|| packed(name, "numbers of a known type", &dtype))?;
        let part = Part { shard, bytes: entry.bytes };
        Ok(Some(Stored { name: name.to_owned(), shape: entry.shape, kind, part }))
    }

    /// Takes a tensor that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<Stored, CheckpointError> {
        self.optional(name)?.ok_or_else(|| packed(name, "a tensor", "nothing"))
    }

    /// The name of the first tensor that begins with this.
    pub(super) fn beginning_with(&self, start: &str) -> Option<String> {
        let (name, _) = self.stored.range(start.to_owned()..).next()?;
        name.starts_with(start).then(|| name.clone())
    }
}

impl Stored {
    /// Elements.
    pub(super) fn count(&self) -> usize {
        // Checked by the header of the file.
        self.shape.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
    }

    /// Both axes of a matrix.
    pub(super) fn matrix(&self) -> Result<[usize; 2], CheckpointError> {
        match self.shape.as_slice() {
            [rows, columns] if *rows > 0 && *columns > 0 => Ok([*rows, *columns]),
            shape => Err(self.wrong("a matrix", &format!("the shape {shape:?}"))),
        }
    }

    pub(super) fn require_kind(&self, kinds: &[Kind], expected: &str) -> Result<(), CheckpointError> {
        if kinds.contains(&self.kind) { Ok(()) } else { Err(self.wrong(expected, &format!("{:?}", self.kind))) }
    }

    /// Requires a number of elements.
    pub(super) fn require_count(&self, expected: usize) -> Result<(), CheckpointError> {
        if self.count() == expected {
            return Ok(());
        }
        Err(self.wrong(&format!("{expected} elements"), &format!("the shape {:?}", self.shape)))
    }

    pub(super) fn wrong(&self, expected: &str, found: &str) -> CheckpointError {
        packed(&self.name, expected, found)
    }
}

/// A part of a quantized weight that does not fit.
pub(super) fn packed(tensor: &str, expected: &str, found: &str) -> CheckpointError {
    CheckpointError::Packed { tensor: tensor.to_owned(), expected: expected.to_owned(), found: found.to_owned() }
}
