//! Constants by value, wherever they are stored.

use std::collections::BTreeMap;

use super::{CompareError, Side};
use crate::blob::BlobFile;
use crate::dtype::DataType;
use crate::package::PackageFiles;
use crate::stored::StoredModel;
use crate::value::{BlobReference, TensorData, Value, ValueData};

/// Bytes of a weight that are compared at a time.
const PIECE_BYTES: usize = 1 << 20;

/// The weight files of two models, opened when they are needed, and which blobs were found equal.
pub(super) struct Weights<'a, L: PackageFiles, R: PackageFiles> {
    left: WeightFiles<'a, L>,
    right: WeightFiles<'a, R>,
    compared: BTreeMap<(BlobReference, BlobReference), bool>,
}

struct WeightFiles<'a, F: PackageFiles> {
    model: &'a StoredModel<F>,
    side: Side,
    open: BTreeMap<String, BlobFile<F::File>>,
}

impl<F: PackageFiles> WeightFiles<'_, F> {
    fn file(&mut self, name: &str) -> Result<&mut BlobFile<F::File>, CompareError> {
        use std::collections::btree_map::Entry;
        Ok(match self.open.entry(name.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.model.weights(name)?),
        })
    }

    /// Bytes of a blob's data, and a way to read pieces of it.
    fn length(&mut self, reference: &BlobReference, dtype: DataType) -> Result<u64, CompareError> {
        let side = self.side;
        let file = self.file(&reference.file_name)?;
        let blob = file.record(reference.offset).map_err(|source| CompareError::Blob { side, source })?;
        if blob.dtype != dtype {
            let source = crate::blob::BlobError::Field {
                field: "the element type",
                offset: reference.offset,
                expected: dtype.to_string(),
                found: blob.dtype.to_string(),
            };
            return Err(CompareError::Blob { side, source });
        }
        Ok(blob.bytes)
    }

    fn piece(&mut self, reference: &BlobReference, start: u64, piece: &mut [u8]) -> Result<(), CompareError> {
        let side = self.side;
        let file = self.file(&reference.file_name)?;
        let read = file.record(reference.offset).and_then(|blob| file.read_piece(&blob, start, piece));
        read.map_err(|source| CompareError::Blob { side, source })
    }
}

impl<'a, L: PackageFiles, R: PackageFiles> Weights<'a, L, R> {
    pub(super) fn new(left: &'a StoredModel<L>, right: &'a StoredModel<R>) -> Self {
        Self {
            left: WeightFiles { model: left, side: Side::Left, open: BTreeMap::new() },
            right: WeightFiles { model: right, side: Side::Right, open: BTreeMap::new() },
            compared: BTreeMap::new(),
        }
    }

    /// Whether two constants have one type and the same bytes.
    pub(super) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, CompareError> {
        if left.ty != right.ty {
            return Ok(false);
        }
        let dtype = left.tensor_type().map_or(DataType::String, |ty| ty.dtype);
        match (&left.data, &right.data) {
            (ValueData::Blob(a), ValueData::Blob(b)) => {
                let key = (a.clone(), b.clone());
                if let Some(equal) = self.compared.get(&key) {
                    return Ok(*equal);
                }
                let equal = self.blobs_equal(a, b, dtype)?;
                self.compared.insert(key, equal);
                Ok(equal)
            }
            (ValueData::Blob(blob), ValueData::Tensor(data)) => blob_is(&mut self.left, blob, dtype, data),
            (ValueData::Tensor(data), ValueData::Blob(blob)) => blob_is(&mut self.right, blob, dtype, data),
            (ValueData::Tensor(a), ValueData::Tensor(b)) => Ok(same_elements(a, b)),
            (ValueData::Tuple(a), ValueData::Tuple(b)) | (ValueData::List(a), ValueData::List(b)) => {
                self.all_equal(a, b)
            }
            (ValueData::Dictionary(a), ValueData::Dictionary(b)) => {
                let flat = |entries: &[(Value, Value)]| -> Vec<Value> {
                    entries.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect()
                };
                self.all_equal(&flat(a), &flat(b))
            }
            _ => Ok(false),
        }
    }

    fn all_equal(&mut self, left: &[Value], right: &[Value]) -> Result<bool, CompareError> {
        if left.len() != right.len() {
            return Ok(false);
        }
        for (left, right) in left.iter().zip(right) {
            if !self.equal(left, right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn blobs_equal(&mut self, a: &BlobReference, b: &BlobReference, dtype: DataType) -> Result<bool, CompareError> {
        let length = self.left.length(a, dtype)?;
        if length != self.right.length(b, dtype)? {
            return Ok(false);
        }
        let mut pieces = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        let mut start = 0;
        while start < length {
            let size = usize::try_from(length - start).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let (left, right) = (&mut pieces.0[..size], &mut pieces.1[..size]);
            self.left.piece(a, start, left)?;
            self.right.piece(b, start, right)?;
            if left != right {
                return Ok(false);
            }
            start += size as u64;
        }
        Ok(true)
    }
}

/// Whether a blob holds the elements of a constant in place.
fn blob_is<F: PackageFiles>(
    files: &mut WeightFiles<'_, F>,
    blob: &BlobReference,
    dtype: DataType,
    data: &TensorData,
) -> Result<bool, CompareError> {
    let Some(expected) = packed(data, dtype) else { return Ok(false) };
    if files.length(blob, dtype)? != expected.len() as u64 {
        return Ok(false);
    }
    let mut found = vec![0; expected.len()];
    files.piece(blob, 0, &mut found)?;
    Ok(found == expected)
}

/// Elements as a weight file stores them; `None` for elements that it cannot.
fn packed(data: &TensorData, dtype: DataType) -> Option<Vec<u8>> {
    let low = |value: &i32| value.to_le_bytes().into_iter().take(dtype.bits() as usize / 8).collect::<Vec<u8>>();
    match data {
        TensorData::Floats(values) => Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        TensorData::Ints(values) => Some(values.iter().flat_map(low).collect()),
        TensorData::Bytes(bytes) => Some(bytes.clone()),
        TensorData::Bools(_) | TensorData::Strings(_) | TensorData::LongInts(_) | TensorData::Doubles(_) => None,
    }
}

/// Bit for bit: a zero is not a negative zero, and a nan is itself.
fn same_elements(left: &TensorData, right: &TensorData) -> bool {
    match (left, right) {
        (TensorData::Floats(a), TensorData::Floats(b)) => {
            a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
        }
        (TensorData::Doubles(a), TensorData::Doubles(b)) => {
            a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
        }
        (a, b) => a == b,
    }
}
