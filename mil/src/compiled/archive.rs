//! The byte stream of `coremldata.bin`: little-endian numbers, and strings behind their length.

use super::DataError;

/// Reads a stream in order.
pub(super) struct ArchiveReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> ArchiveReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn int32(&mut self, what: &'static str) -> Result<i32, DataError> {
        self.array(what).map(i32::from_le_bytes)
    }

    pub(super) fn uint64(&mut self, what: &'static str) -> Result<u64, DataError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The bytes behind a length.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DataError> {
        let length = self.uint64(what)?;
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or(DataError::Truncated { what, position: self.position })?;
        self.position += taken.len();
        Ok(taken)
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, DataError> {
        let position = self.position;
        let bytes = self.bytes(what)?;
        std::str::from_utf8(bytes).map_err(|_| DataError::Text { what, position })
    }

    /// All that follows.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Requires that nothing follows.
    pub(super) fn finish(self) -> Result<(), DataError> {
        let left = self.bytes.len() - self.position;
        if left == 0 { Ok(()) } else { Err(DataError::Trailing { position: self.position, left }) }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DataError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let array = rest.first_chunk().ok_or(DataError::Truncated { what, position: self.position })?;
        self.position += N;
        Ok(*array)
    }
}

/// Writes a stream in order.
#[derive(Default)]
pub(super) struct ArchiveWriter {
    pub(super) bytes: Vec<u8>,
}

impl ArchiveWriter {
    pub(super) fn int32(&mut self, value: i32) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn uint64(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn data(&mut self, value: &[u8]) {
        self.uint64(value.len() as u64);
        self.bytes.extend(value);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.data(value.as_bytes());
    }
}
