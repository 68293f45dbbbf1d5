//! One safetensors file: its header, checked against the file.
//!
//! The `safetensors` crate parses the header and checks that tensors lie back to back; the checks here are the ones that
//! it leaves to its users, and the ones whose message should say more.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::CheckpointError;
use super::file_map::FileMap;

/// Bytes of the length that a safetensors file starts with.
///
/// # Source
/// The safetensors format: `u64` little endian, then that many bytes of JSON, then the tensors.
const LENGTH_BYTES: usize = 8;

/// Element types that can be converted to fp16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceDtype {
    /// The upper half of an fp32.
    BF16,
    /// IEEE 754 half precision.
    F16,
    /// IEEE 754 single precision.
    F32,
}

impl SourceDtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::BF16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    fn from_safetensors(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::BF16 => Some(Self::BF16),
            Dtype::F16 => Some(Self::F16),
            Dtype::F32 => Some(Self::F32),
            _ => None,
        }
    }
}

/// Where a tensor is in its file.
#[derive(Debug)]
pub(in crate::source) struct Entry {
    pub(in crate::source) shape: Vec<usize>,
    /// Its dtype, or as safetensors spells it where it cannot be converted.
    pub(in crate::source) dtype: Result<SourceDtype, String>,
    /// Bytes of the file.
    pub(in crate::source) bytes: Range<usize>,
}

impl Entry {
    /// Indices of the first axis.
    pub(super) fn row_count(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes under one index of the first axis: the file's share of each.
    pub(in crate::source) fn row_bytes(&self) -> usize {
        self.bytes.len() / self.row_count().max(1)
    }

    /// The dtype, if the tensor can be converted: it has elements, and they are floats of 16 or 32 bits.
    pub(super) fn usable(&self, path: &Path, tensor: &str) -> Result<SourceDtype, CheckpointError> {
        let (path, tensor) = (path.to_owned(), tensor.to_owned());
        if self.shape.contains(&0) {
            return Err(CheckpointError::ZeroSize { path, tensor, shape: self.shape.clone() });
        }
        self.dtype.clone().map_err(|found| CheckpointError::Dtype { path, tensor, found })
    }
}

/// A mapped file with its checked header.
#[derive(Debug)]
pub(in crate::source) struct Shard {
    pub(in crate::source) path: PathBuf,
    pub(super) map: FileMap,
}

impl Shard {
    /// Maps a file of another kind.
    pub(in crate::source) fn map(path: &Path) -> Result<Self, CheckpointError> {
        let map = FileMap::open(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), map })
    }

    /// The bytes of the file.
    pub(in crate::source) fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// Maps a file and reads its header.
    pub(super) fn open(path: &Path) -> Result<(Self, BTreeMap<String, Entry>), CheckpointError> {
        let shard = Self::map(path)?;
        if let Some(found) = foreign(shard.bytes()) {
            return Err(CheckpointError::Foreign { path: path.to_owned(), found });
        }
        let entries = read_header(path, shard.bytes())?;
        Ok((shard, entries))
    }
}

/// What a file is that is no safetensors file, by its first bytes. These are also lengths of headers, beyond all reason.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 3] = [
        (b"version https://git-lfs", "a Git LFS pointer"),
        (b"PK\x03\x04", "a zip archive"),
        (b"GGUF", "a GGUF model"),
    ];
    kinds.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| kind)
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let (header_length, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| header_error(path, bytes, error))?;
    let data_start = LENGTH_BYTES + header_length;
    let mut entries = BTreeMap::new();
    #[expect(clippy::iter_over_hash_type, reason = "collected into a sorted map")]
    for (name, info) in metadata.tensors() {
        let dtype = SourceDtype::from_safetensors(info.dtype).ok_or_else(|| format!("{:?}", info.dtype));
        let (start, end) = info.data_offsets;
        // The crate has checked that data_start + end is at most the length of the file.
        let bytes = data_start + start..data_start + end;
        entries.insert(name, Entry { shape: info.shape.clone(), dtype, bytes });
    }
    Ok(entries)
}

/// Tells a file that ends early or late, most often a download cut short, from a header that makes no sense.
fn header_error(path: &Path, bytes: &[u8], error: SafeTensorError) -> CheckpointError {
    let path = path.to_owned();
    let found = bytes.len() as u64;
    let header_length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let expected = match error {
        SafeTensorError::HeaderTooSmall => Some(LENGTH_BYTES as u64),
        SafeTensorError::InvalidHeaderLength => header_length.checked_add(LENGTH_BYTES as u64),
        SafeTensorError::MetadataIncompleteBuffer => described_length(bytes, header_length),
        _ => None,
    };
    match expected {
        Some(expected) if expected != found => CheckpointError::Length { path, expected, found },
        _ => CheckpointError::Header { path, source: error },
    }
}

/// Bytes that a valid header accounts for, itself included.
fn described_length(bytes: &[u8], header_length: u64) -> Option<u64> {
    let data_start = usize::try_from(header_length).ok()?.checked_add(LENGTH_BYTES)?;
    let metadata: safetensors::tensor::Metadata = serde_json::from_slice(bytes.get(LENGTH_BYTES..data_start)?).ok()?;
    data_start.checked_add(metadata.data_len()).map(|length| length as u64)
}
