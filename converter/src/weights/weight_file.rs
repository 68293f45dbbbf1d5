//! The weight file of one package, planned before any weight is read.
//!
//! The size of every blob follows from its type and element count alone, so offsets are final while the graph is built,
//! and the file can then be written in one pass. A weight that two functions use is asked for twice and stored once:
//! sharing is by construction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anec_mil::blob::BlobLayout;
use anec_mil::{BlobReference, BuildError, DataType, FunctionBuilder, Opset, TensorType, Value, WEIGHT_FILE};

use super::encodings::{Constant, UnfitError};
use super::requests::Requests;
use super::rows::Rows;
use super::storage::Storage;
use super::transform::Transform;

/// What fills some blobs, in file order.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Rows of the checkpoint.
    Weight(Weight),
    /// Bytes that do not come from the checkpoint, such as RoPE tables: one blob.
    Generated {
        /// Packed elements.
        bytes: Arc<[u8]>,
        /// Offset of the data.
        at: u64,
    },
}

/// A weight and its place in the file.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    /// What it is.
    pub(crate) rows: Rows,
    /// How it is stored.
    pub(crate) storage: Storage,
    /// Offsets of the records of its blobs, in the order of the encoding.
    pub(crate) blobs: Vec<u64>,
}

impl Weight {
    /// Offsets of the data of its blobs.
    pub(crate) fn data_offsets(&self) -> Vec<u64> {
        self.blobs.iter().map(|record| BlobLayout::data_offset(*record)).collect()
    }
}

impl Job {
    /// Source elements that are read for it.
    pub(crate) fn source_elements(&self) -> u64 {
        match self {
            Self::Weight(weight) => weight.rows.elements(),
            Self::Generated { .. } => 0,
        }
    }
}

/// Where a stored weight came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance<'a> {
    /// The tensor's name in the checkpoint.
    pub(crate) tensor: &'a str,
    /// What became of the tensor before rows and columns were taken, in this order.
    pub(crate) transforms: &'a [Transform],
    /// Which rows of it.
    pub(crate) rows: Range<u64>,
    /// Which columns of it.
    pub(crate) columns: Range<u64>,
    /// How they are stored.
    pub(crate) storage: &'a Storage,
    /// Offsets of its blobs as the program has them, in the order of the encoding: the data first.
    pub(crate) blobs: &'a [u64],
}

/// A weight as the graph uses it.
#[derive(Clone, Debug)]
pub(crate) struct StoredWeight {
    storage: Storage,
    blobs: Vec<Value>,
}

/// The blobs of a weight, which may be asked for in more than one shape.
#[derive(Clone, Debug)]
struct Blobs {
    records: Vec<u64>,
    bytes: u64,
}

impl StoredWeight {
    /// The constant of a graph, under a name that starts with `name`.
    ///
    /// # Errors
    /// A bug in the encoding: blobs that do not fit its op.
    pub(crate) fn constant(self, ops: &mut FunctionBuilder, name: &str) -> Result<Constant, BuildError> {
        self.storage.encoding().constant(ops, name, self.blobs)
    }
}

/// Bytes of a blob.
fn bytes(ty: &TensorType) -> u64 {
    (count(ty) * u64::from(ty.dtype.bits())).div_ceil(8)
}

fn count(ty: &TensorType) -> u64 {
    ty.element_count().expect("shapes of weights are fixed and were checked against the checkpoint")
}

fn value(ty: TensorType, record: u64) -> Value {
    Value::blob(ty, BlobReference { file_name: WEIGHT_FILE.to_owned(), offset: record })
}

/// What two requests have in common where they get the same blobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tensor: String,
    transforms: Vec<Transform>,
    start: u64,
    end: u64,
    first_column: u64,
    columns: u64,
    storage: Storage,
}

impl Key {
    fn new(rows: &Rows, storage: &Storage) -> Self {
        let Rows { tensor, rows, first_column, columns, transforms } = rows.clone();
        let Range { start, end } = rows;
        Self { tensor, transforms, start, end, first_column, columns, storage: storage.clone() }
    }
}

/// The plan of one weight file.
#[derive(Clone, Default)]
pub(crate) struct WeightFile {
    layout: BlobLayout,
    jobs: Vec<Job>,
    weights: BTreeMap<Key, Blobs>,
    tables: BTreeMap<String, (Value, u64)>,
    /// Whether integers of fewer than 8 bits are bytes to the programs, which know no such integers.
    as_bytes: bool,
    /// Bytes of weights of which calls read single rows.
    looked_up: u64,
    /// What else the graphs said of their weights.
    pub(crate) requests: Requests,
}

impl WeightFile {
    /// An empty file for programs of an operation set.
    pub(crate) fn of(opset: Opset) -> Self {
        Self { as_bytes: opset < Opset::Ios18, ..Self::default() }
    }

    /// Rows of the checkpoint in the given shape, whose first axis is the rows.
    ///
    /// # Errors
    /// Rows that the encoding does not fit.
    pub(crate) fn weight(&mut self, rows: &Rows, shape: &[u64], storage: &Storage) -> Result<StoredWeight, UnfitError> {
        let key = Key::new(rows, storage);
        let types = storage.encoding().blobs(rows, shape)?;
        let records = if let Some(known) = self.weights.get(&key) {
            known.records.clone()
        } else {
            let records: Vec<u64> = types.iter().map(|ty| self.place(ty)).collect();
            let (rows, storage) = (rows.clone(), storage.clone());
            self.jobs.push(Job::Weight(Weight { rows, storage, blobs: records.clone() }));
            self.weights.insert(key, Blobs { records: records.clone(), bytes: types.iter().map(bytes).sum() });
            records
        };
        let blobs = types.into_iter().zip(records).map(|(ty, record)| value(ty, record)).collect();
        Ok(StoredWeight { storage: storage.clone(), blobs })
    }

    /// Rows of the checkpoint as fp16 in the given shape, whatever it is.
    pub(crate) fn plain(&mut self, rows: &Rows, shape: &[u64]) -> Value {
        let stored = self.weight(rows, shape, &Storage::default()).expect("every tensor can be stored as it is");
        stored.blobs.into_iter().next().expect("fp16 is one blob")
    }

    /// Generated data, made by `bytes` where `name` is not in the file yet.
    pub(crate) fn generated(&mut self, name: &str, ty: TensorType, bytes: impl FnOnce() -> Arc<[u8]>) -> Value {
        if let Some((table, _)) = self.tables.get(name) {
            return table.clone();
        }
        let (record, size) = (self.place(&ty), self::bytes(&ty));
        self.jobs.push(Job::Generated { bytes: bytes(), at: BlobLayout::data_offset(record) });
        let table = value(ty, record);
        self.tables.insert(name.to_owned(), (table.clone(), size));
        table
    }

    /// Bytes of the finished file.
    pub(crate) fn size(&self) -> u64 {
        self.layout.total_size()
    }

    /// Bytes of the weights that come from the checkpoint.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        self.weights.values().map(|blobs| blobs.bytes).sum()
    }

    /// Bytes of the weights from the checkpoint of which calls read all.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.checkpoint_bytes() - self.looked_up
    }

    /// A weight of which calls read single rows; otherwise as [`Self::weight`].
    ///
    /// # Errors
    /// As [`Self::weight`].
    pub(crate) fn looked_up(
        &mut self,
        rows: &Rows,
        shape: &[u64],
        storage: &Storage,
    ) -> Result<StoredWeight, UnfitError> {
        let before = self.checkpoint_bytes();
        let stored = self.weight(rows, shape, storage)?;
        self.looked_up += self.checkpoint_bytes() - before;
        Ok(stored)
    }

    /// Bytes of each table that does not come from the checkpoint.
    pub(crate) fn table_bytes(&self) -> BTreeMap<String, u64> {
        self.tables.iter().map(|(name, (_, bytes))| (name.clone(), *bytes)).collect()
    }

    /// Where each blob goes, in file order.
    pub(crate) fn layout(&self) -> &BlobLayout {
        &self.layout
    }

    /// What fills the blobs, in file order.
    pub(crate) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Where every weight that comes from the checkpoint came from, in file order.
    pub(crate) fn provenance(&self) -> impl Iterator<Item = Provenance<'_>> {
        self.jobs.iter().filter_map(|job| match job {
            Job::Weight(Weight { rows, storage, blobs }) => Some(Provenance {
                tensor: &rows.tensor,
                transforms: &rows.transforms,
                rows: rows.rows.clone(),
                columns: rows.first_column..rows.first_column + rows.columns,
                storage,
                blobs,
            }),
            Job::Generated { .. } => None,
        })
    }

    /// Name and offset of each table that does not come from the checkpoint, as programs have them.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, u64)> {
        self.tables.iter().filter_map(|(name, (value, _))| Some((name.as_str(), value.as_blob()?.offset)))
    }

    /// Places the next blob, and gives the offset of its record.
    fn place(&mut self, ty: &TensorType) -> u64 {
        let (dtype, count) =
            if self.as_bytes && ty.dtype.bits() < 8 { (DataType::UInt8, bytes(ty)) } else { (ty.dtype, count(ty)) };
        self.layout.push(dtype, count).expect("numeric types have blobs and sizes fit 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_asked_for_twice_is_stored_once() {
        let mut file = WeightFile::default();
        let rows = Rows::new("w", 0..16, 32);
        let palette = "lut4:tensor".parse().expect("a storage");
        file.weight(&rows, &[16, 32, 1, 1], &palette).expect("the whole tensor is one group");
        let size = file.size();
        file.weight(&rows, &[16, 32, 1, 1], &palette).expect("the whole tensor is one group");
        assert_eq!((file.size(), file.jobs().len()), (size, 1));
        let transformed = Rows { transforms: vec![Transform::add(1.0)], ..rows };
        file.weight(&transformed, &[16, 32, 1, 1], &palette).expect("the whole tensor is one group");
        assert_eq!(file.jobs().len(), 2, "what becomes of it makes it another weight");
    }

    #[test]
    fn a_tied_head_shares_the_blobs_of_the_embeddings_in_a_shape_of_its_own() {
        let mut file = WeightFile::default();
        let rows = Rows::new("embed_tokens", 0..16, 32);
        let storage = "int8".parse().expect("a storage");
        let table = file.weight(&rows, &[16, 32], &storage).expect("any rows fit");
        let head = file.weight(&rows, &[16, 32, 1, 1], &storage).expect("any rows fit");
        assert_eq!(file.jobs().len(), 1);
        for (table, head) in table.blobs.iter().zip(&head.blobs) {
            assert_eq!(table.data, head.data, "one blob");
        }
        let rank = |stored: &StoredWeight| stored.blobs[0].ty.as_tensor().expect("a tensor").rank();
        assert_eq!((rank(&table), rank(&head)), (2, 4));
    }

    #[test]
    fn provenance_names_the_blobs_that_the_program_names() {
        let mut file = WeightFile::default();
        let rows = Rows::new("w", 16..32, 64).with_columns(&(32..64));
        let scaled = "lut4:8+scale".parse().expect("a storage");
        let stored = file.weight(&rows, &[16, 32, 1, 1], &scaled).expect("8 divides 16");
        let named: Vec<u64> = stored
            .blobs
            .iter()
            .map(|value| match &value.data {
                anec_mil::ValueData::Blob(reference) => reference.offset,
                other => panic!("{other:?}"),
            })
            .collect();
        let provenance: Vec<_> = file.provenance().collect();
        let [Provenance { tensor: "w", rows, columns, storage, blobs, .. }] = provenance.as_slice() else {
            panic!("{provenance:?}")
        };
        assert_eq!((rows.clone(), columns.clone()), (16..32, 32..64));
        assert_eq!((*storage, *blobs), (&scaled, named.as_slice()));
        assert_eq!(blobs.len(), 3);
    }
}
