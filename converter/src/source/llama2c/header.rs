//! The numbers that a file starts with.

use super::error::Llama2cError;

/// What a file with a version starts with: `ak42` as a little-endian number.
pub(super) const MAGIC: [u8; 4] = 0x616b_3432_u32.to_le_bytes();

/// Numbers that are sizes.
const NUMBERS: usize = 7;

/// Bytes of a number.
const NUMBER_BYTES: usize = 4;

/// Bytes of a header without a version.
pub(in crate::source) const LEGACY_BYTES: usize = NUMBERS * NUMBER_BYTES;

/// Bytes of a header with a version.
const HEADER_BYTES: usize = 256;

/// The largest size that is taken for one.
const LARGEST: i64 = 1 << 20;

/// How the weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Version 0, which says no number.
    Legacy,
    /// Version 1.
    One,
}

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Sizes {
    pub(in crate::source) dim: usize,
    pub(in crate::source) hidden: usize,
    pub(in crate::source) layers: usize,
    pub(in crate::source) heads: usize,
    pub(in crate::source) kv_heads: usize,
    pub(in crate::source) vocabulary: usize,
    pub(in crate::source) positions: usize,
    /// Whether the size of the vocabulary is negative.
    pub(in crate::source) is_negative: bool,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: Version,
    pub(super) sizes: Sizes,
    /// Whether the classifier is the embeddings.
    pub(super) is_tied: bool,
}

/// The number at an offset.
fn number(bytes: &[u8], offset: usize) -> Result<i32, Llama2cError> {
    let number = bytes.get(offset..offset + NUMBER_BYTES).and_then(|number| number.try_into().ok());
    let expected = (offset + NUMBER_BYTES) as u128;
    number.map(i32::from_le_bytes).ok_or(Llama2cError::Length { expected, found: bytes.len() as u64 })
}

impl Sizes {
    /// Reads seven numbers at an offset.
    pub(in crate::source) fn read(bytes: &[u8], offset: usize) -> Result<Self, Llama2cError> {
        let mut numbers = [0; NUMBERS];
        for (index, slot) in numbers.iter_mut().enumerate() {
            *slot = i64::from(number(bytes, offset + NUMBER_BYTES * index)?);
        }
        let [dim, hidden, layers, heads, kv_heads, vocabulary, positions] = numbers;
        let size = |name: &'static str, found: i64| {
            let size = usize::try_from(found).ok().filter(|_| (1..=LARGEST).contains(&found));
            size.ok_or(Llama2cError::Size { name, found })
        };
        let sizes = Self {
            dim: size("dim", dim)?,
            hidden: size("hidden_dim", hidden)?,
            layers: size("n_layers", layers)?,
            heads: size("n_heads", heads)?,
            kv_heads: size("n_kv_heads", kv_heads)?,
            vocabulary: size("vocab_size", vocabulary.abs())?,
            positions: size("seq_len", positions)?,
            is_negative: vocabulary < 0,
        };
        if !sizes.dim.is_multiple_of(2 * sizes.heads) || !sizes.heads.is_multiple_of(sizes.kv_heads) {
            let Self { dim, heads, kv_heads, .. } = sizes;
            return Err(Llama2cError::Heads { dim, heads, kv_heads });
        }
        Ok(sizes)
    }

    /// Channels of a head.
    pub(in crate::source) fn head_dim(&self) -> usize {
        self.dim / self.heads
    }

    /// Channels of all heads of keys.
    pub(in crate::source) fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim()
    }

    /// Numbers of the matrices and norms of all layers, the embeddings and the last norm. No overflow: sizes have 21 bits.
    pub(in crate::source) fn weights(&self) -> u128 {
        let [dim, hidden, layers, vocabulary, kv_size] =
            [self.dim, self.hidden, self.layers, self.vocabulary, self.kv_size()].map(|size| size as u128);
        layers * (2 * dim + 2 * dim * dim + 2 * dim * kv_size + 3 * dim * hidden) + vocabulary * dim + dim
    }
}

impl Header {
    /// Reads the header of a file, and holds the file's length against it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Llama2cError> {
        for (start, what) in [
            (&b"PK\x03\x04"[..], "a zip archive, as PyTorch writes them"),
            (b"\x80\x02", "a pickle, as PyTorch writes them"),
            (b"version https://git-lfs", "a Git LFS pointer"),
        ] {
            if bytes.starts_with(start) {
                return Err(Llama2cError::Foreign { found: what });
            }
        }
        let header = if bytes.starts_with(&MAGIC) {
            match number(bytes, NUMBER_BYTES)? {
                1 => {}
                found => return Err(Llama2cError::Version { found }),
            }
            let sizes = Sizes::read(bytes, 2 * NUMBER_BYTES)?;
            if sizes.is_negative {
                return Err(Llama2cError::Size {
                    name: "vocab_size",
                    found: i64::from(number(bytes, 7 * NUMBER_BYTES)?),
                });
            }
            let is_tied = bytes.get((2 + NUMBERS) * NUMBER_BYTES).is_some_and(|flag| *flag != 0);
            Self { version: Version::One, sizes, is_tied }
        } else {
            // A negative size of the vocabulary says that the classifier has weights of its own.
            let sizes = Sizes::read(bytes, 0)?;
            Self { version: Version::Legacy, sizes, is_tied: !sizes.is_negative }
        };
        let (expected, found) = (header.file_bytes(), bytes.len() as u64);
        if expected == u128::from(found) { Ok(header) } else { Err(Llama2cError::Length { expected, found }) }
    }

    fn file_bytes(&self) -> u128 {
        let Sizes { dim, vocabulary, positions, .. } = self.sizes;
        let tables = if self.version == Version::Legacy { positions * self.sizes.head_dim() } else { 0 };
        let classifier = if self.is_tied { 0 } else { vocabulary * dim };
        self.bytes() as u128 + 4 * (self.sizes.weights() + (tables + classifier) as u128)
    }

    /// Bytes before the first weight.
    pub(super) fn bytes(&self) -> usize {
        match self.version {
            Version::Legacy => LEGACY_BYTES,
            Version::One => HEADER_BYTES,
        }
    }
}
