//! What calibration leaves on disk: one file for each layer, read by emission, and what it takes to go on after a stop.
//!
//! Every file starts with what it belongs to and ends with a checksum, and appears whole or not at all. A file that is of
//! another calibration, or damaged, counts as not there.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anec_quantize::compensate::GroupPalettes;
use fs_err as fs;
use half::f16;
use sha2::{Digest as _, Sha256};

use super::engine::Tokens;
use super::error::CalibrateError;
use super::layer::Residual;
use super::result::CalibratedTensor;
use super::settings::TensorRows;
use super::tokens::CalibrationTokens;
use crate::weights::CalibratedRows;

/// The first bytes of every file.
const MAGIC: &[u8; 8] = b"ANECCAL1";

const DIGEST_BYTES: usize = 32;

/// Numbers of the residual stream that are made bytes at a time.
const STREAMED: usize = 1 << 14;

/// What takes the parts of a file's body.
type Body<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Rows whose indices start on a byte, whatever their width.
const ALIGNED_ROWS: usize = 8;

/// A directory with the results of a calibration.
#[derive(Clone, Debug)]
pub struct CalibrationStore {
    directory: PathBuf,
    identity: [u8; DIGEST_BYTES],
    tensors: BTreeMap<TensorRows, Stored>,
}

/// Where a tensor is.
#[derive(Clone, Debug)]
struct Stored {
    path: PathBuf,
    columns: usize,
    palettes: GroupPalettes,
    /// Offset of the packed indices.
    indices_at: u64,
}

impl Stored {
    fn indices(&self, rows: &Range<usize>) -> Result<Vec<u8>, CalibrateError> {
        let first = rows.start / ALIGNED_ROWS * ALIGNED_ROWS;
        let bits = usize::from(self.palettes.bits) * self.columns;
        let (start, end) = (first * bits / 8, (rows.end * bits).div_ceil(8));
        let failed = |source| CalibrateError::Store { source };
        let mut file = fs::File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.indices_at + start as u64)).map_err(failed)?;
        let mut bytes = vec![0; end - start];
        file.read_exact(&mut bytes).map_err(failed)?;
        let indices = anec_quantize::unpack(&bytes, self.palettes.bits, (rows.end - first) * self.columns);
        let mut indices = indices.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        Ok(indices.split_off((rows.start - first) * self.columns))
    }
}

impl CalibrationStore {
    /// The store of a calibration in a directory, which is made where it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn new(directory: &Path, identity: [u8; DIGEST_BYTES]) -> Result<Self, CalibrateError> {
        fs::create_dir_all(directory).map_err(|source| CalibrateError::Store { source })?;
        Ok(Self { directory: directory.to_owned(), identity, tensors: BTreeMap::new() })
    }

    /// Rows of a tensor that were calibrated: their palettes, and their indices, `[rows, columns]`. Rows are whole groups
    /// from the first row of the weight on; its last group may be short.
    ///
    /// # Errors
    /// The file cannot be read, or the rows were not calibrated.
    pub fn rows(&self, tensor: &str, rows: Range<u64>) -> Result<CalibratedRows<'_>, CalibrateError> {
        let missing = || CalibrateError::NotStored { tensor: tensor.to_owned(), start: rows.start, end: rows.end };
        let holds = |key: &TensorRows| key.tensor == tensor && key.first <= rows.start && rows.end <= key.end;
        let (key, stored) = self.tensors.iter().find(|(key, _)| holds(key)).ok_or_else(missing)?;
        let within = |row: u64| usize::try_from(row - key.first).ok();
        let rows = within(rows.start).zip(within(rows.end)).map(|(start, end)| start..end).ok_or_else(missing)?;
        let GroupPalettes { bits, group_rows, entries } = &stored.palettes;
        let is_last = within(key.end) == Some(rows.end);
        let whole = rows.start.is_multiple_of(*group_rows) && (is_last || rows.end.is_multiple_of(*group_rows));
        let palettes = ((rows.start / group_rows) << bits)..(rows.end.div_ceil(*group_rows) << bits);
        let palettes = entries.get(palettes).filter(|_| whole).ok_or_else(missing)?;
        let indices = stored.indices(&rows)?;
        Ok(CalibratedRows { bits: *bits, columns: stored.columns, palettes, indices })
    }

    /// Keeps the tensors of a layer, or of the head, under a name.
    pub(super) fn put(&mut self, name: &str, tensors: &[CalibratedTensor]) -> Result<(), CalibrateError> {
        let mut body = Vec::new();
        put_count(&mut body, tensors.len());
        for tensor in tensors {
            let GroupPalettes { bits, group_rows, entries } = &tensor.palettes;
            let TensorRows { tensor: name, first, end } = &tensor.rows;
            put_count(&mut body, name.len());
            body.extend_from_slice(name.as_bytes());
            body.extend([first, end].into_iter().flat_map(|row| row.to_le_bytes()));
            for count in [tensor.columns, usize::from(*bits), *group_rows] {
                put_count(&mut body, count);
            }
            body.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
            anec_quantize::pack(&tensor.indices, *bits, &mut body);
        }
        self.write(name, &|with| with(&body))?;
        self.index(name, &body).ok_or(CalibrateError::Store { source: io::ErrorKind::InvalidData.into() })
    }

    /// Finds the tensors of a file that is there; whether it is.
    pub(super) fn find(&mut self, name: &str) -> bool {
        self.read(name).and_then(|body| self.index(name, &body)).is_some()
    }

    fn index(&mut self, name: &str, body: &[u8]) -> Option<()> {
        let mut reader = Reader { body, at: 0 };
        let mut found = Vec::new();
        for _ in 0..reader.count()? {
            let length = reader.count()?;
            let tensor = String::from_utf8(reader.bytes(length)?.to_vec()).ok()?;
            let [first, end, columns] = [reader.count()?, reader.count()?, reader.count()?];
            let [rows, bits, group_rows] = [end.checked_sub(first)?, reader.count()?, reader.count()?];
            let bits = u8::try_from(bits).ok().filter(|bits| (1..=8).contains(bits))?;
            let groups = (group_rows > 0).then(|| rows.div_ceil(group_rows))?;
            let entries = reader.bytes(groups.checked_mul(2 << bits)?)?;
            let (pairs, _) = entries.as_chunks();
            let entries = pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
            let indices_at = (MAGIC.len() + DIGEST_BYTES + reader.at) as u64;
            reader.bytes(rows.checked_mul(columns)?.checked_mul(usize::from(bits))?.div_ceil(8))?;
            let palettes = GroupPalettes { bits, group_rows, entries };
            let key = TensorRows { tensor, first: first as u64, end: end as u64 };
            found.push((key, Stored { path: self.path(name), columns, palettes, indices_at }));
        }
        self.tensors.extend(found);
        Some(())
    }

    /// Keeps the tokens, so that a resumed calibration need not make them again.
    pub(super) fn put_tokens(&self, tokens: &CalibrationTokens) -> Result<(), CalibrateError> {
        let mut body = Vec::new();
        put_count(&mut body, tokens.tokens.length);
        put_count(&mut body, tokens.description.len());
        body.extend_from_slice(tokens.description.as_bytes());
        body.extend(tokens.tokens.tokens.iter().flat_map(|token| token.to_le_bytes()));
        self.write(TOKENS, &|with| with(&body))
    }

    pub(super) fn tokens(&self) -> Option<CalibrationTokens> {
        let body = self.read(TOKENS)?;
        let mut reader = Reader { body: &body, at: 0 };
        let [length, text] = [reader.count()?, reader.count()?];
        let description = String::from_utf8(reader.bytes(text)?.to_vec()).ok()?;
        let (tokens, _) = reader.rest().as_chunks();
        let tokens = tokens.iter().map(|token| u32::from_le_bytes(*token)).collect();
        Some(CalibrationTokens { tokens: Tokens { length, tokens }, description })
    }

    /// Keeps the residual stream after so many layers.
    pub(super) fn put_residual(&self, layers: usize, residual: &Residual) -> Result<(), CalibrateError> {
        let mut head = Vec::new();
        put_count(&mut head, layers);
        put_count(&mut head, residual.quantized.len());
        let streams = std::iter::once(&residual.quantized).chain(&residual.reference);
        let each = |with: &mut Body<'_>| {
            with(&head)?;
            let mut bytes = vec![0; 4 * STREAMED];
            for values in streams.clone().flat_map(|values| values.chunks(STREAMED)) {
                let bytes = &mut bytes[..4 * values.len()];
                let (places, _) = bytes.as_chunks_mut();
                places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
                with(bytes)?;
            }
            Ok(())
        };
        self.write(RESIDUAL, &each)
    }

    pub(super) fn residual(&self) -> Option<(usize, Residual)> {
        let body = self.read(RESIDUAL)?;
        let mut reader = Reader { body: &body, at: 0 };
        let [layers, length] = [reader.count()?, reader.count()?];
        let (values, _) = reader.rest().as_chunks();
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let (quantized, reference) = values.split_at_checked(length)?;
        let reference = (!reference.is_empty()).then(|| reference.to_vec());
        Some((layers, Residual { quantized: quantized.to_vec(), reference }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name).with_extension("bin")
    }

    /// Writes a file; `each` hands out its body in order, as often as it is called.
    fn write(&self, name: &str, each: &(dyn Fn(&mut Body<'_>) -> io::Result<()> + Sync)) -> Result<(), CalibrateError> {
        let path = self.path(name);
        let partial = path.with_extension("partial");
        let write = || {
            let mut file = fs::File::create(&partial)?;
            for part in [MAGIC.as_slice(), &self.identity] {
                file.write_all(part)?;
            }
            each(&mut |part| file.write_all(part))?;
            Ok(file)
        };
        let digest = || {
            let mut digest = Sha256::new().chain_update(self.identity);
            each(&mut |part| {
                digest.update(part);
                Ok(())
            })?;
            Ok(digest.finalize())
        };
        let both: (io::Result<fs::File>, io::Result<_>) = rayon::join(write, digest);
        let finish = || -> io::Result<()> {
            let mut file = both.0?;
            file.write_all(&both.1?)?;
            file.sync_all()?;
            drop(file);
            fs::rename(&partial, &path)
        };
        finish().map_err(|source| CalibrateError::Store { source })
    }

    /// The content of a file; none where it is not there, of something else, or damaged.
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.path(name)).ok()?;
        let end = bytes.len().checked_sub(DIGEST_BYTES)?;
        let start = MAGIC.len() + DIGEST_BYTES;
        let body = bytes.get(start..end)?;
        let is_ours = bytes.starts_with(MAGIC)
            && bytes.get(MAGIC.len()..start) == Some(&self.identity)
            && bytes.get(end..) == Some(&digest(&self.identity, body));
        if !is_ours {
            return None;
        }
        bytes.truncate(end);
        bytes.drain(..start);
        Some(bytes)
    }
}

const TOKENS: &str = "tokens";
const RESIDUAL: &str = "residual";

fn digest(identity: &[u8], body: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new().chain_update(identity).chain_update(body).finalize().into()
}

fn put_count(body: &mut Vec<u8>, count: usize) {
    body.extend_from_slice(&(count as u64).to_le_bytes());
}

/// Reads what [`put_count`] and others wrote.
struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.body.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn count(&mut self) -> Option<usize> {
        let bytes = self.bytes(8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }

    fn rest(&self) -> &'a [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
    fn tensor(bits: u8, rows: usize, columns: usize) -> CalibratedTensor {
        let indices: Vec<u8> = (0..rows * columns).map(|at| ((at * 7 + at / 3) % (1 << bits)) as u8).collect();
        let entries = (0..(rows / 4) << bits).map(|at| f16::from_f32(at as f32)).collect();
        let palettes = GroupPalettes { bits, group_rows: 4, entries };
        let rows = TensorRows { tensor: format!("w{bits}"), first: 100, end: 100 + rows as u64 };
        CalibratedTensor { rows, columns, palettes, indices }
    }

    #[test]
    fn whole_groups_of_any_width_are_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = CalibrationStore::new(directory.path(), [1; 32]).expect("made");
        let tensors = [tensor(3, 20, 5), tensor(4, 24, 7), tensor(6, 12, 3)];
        store.put("layer", &tensors).expect("written");
        let mut again = CalibrationStore::new(directory.path(), [1; 32]).expect("there");
        assert!(again.find("layer") && !again.find("other"));
        for tensor in &tensors {
            let count = tensor.indices.len() / tensor.columns;
            let size = 1 << tensor.palettes.bits;
            for range in [0..count, 4..8, 8..12] {
                let rows = 100 + range.start as u64..100 + range.end as u64;
                let found = again.rows(&tensor.rows.tensor, rows).expect("there");
                assert_eq!(found.indices, tensor.indices[range.start * tensor.columns..range.end * tensor.columns]);
                assert_eq!(found.palettes, &tensor.palettes.entries[range.start / 4 * size..range.end / 4 * size]);
            }
        }
        for wrong in [100..124, 99..104, 101..108] {
            assert!(again.rows("w3", wrong).is_err());
        }
    }

    #[test]
    fn damaged_files_and_those_of_another_calibration_are_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = CalibrationStore::new(directory.path(), [1; 32]).expect("made");
        store.put("layer", &[tensor(4, 8, 4)]).expect("written");
        assert!(!CalibrationStore::new(directory.path(), [2; 32]).expect("there").find("layer"));
        let path = directory.path().join("layer.bin");
        let mut bytes = fs::read(&path).expect("there");
        bytes[60] ^= 1;
        fs::write(&path, &bytes).expect("written");
        assert!(!store.find("layer"));
        bytes.truncate(50);
        fs::write(&path, &bytes).expect("written");
        assert!(!store.find("layer"));
    }

    #[test]
    fn the_residual_goes_on_where_it_stopped() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = CalibrationStore::new(directory.path(), [1; 32]).expect("made");
        for reference in [None, Some(vec![3.0, -4.0])] {
            let residual = Residual { quantized: vec![1.0, 2.5], reference };
            store.put_residual(7, &residual).expect("written");
            assert_eq!(store.residual(), Some((7, residual)));
        }
    }
}
