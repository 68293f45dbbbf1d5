//! The weight file of one package, planned before any weight is read.
//!
//! The size of every blob follows from its type and element count alone, so offsets are final while the graph is built,
//! and the file can then be written in one pass. A weight that two functions use is asked for twice and stored once:
//! sharing is by construction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anec_mil::blob::BlobLayout;
use anec_mil::{BlobReference, DataType, TensorType, Value, WEIGHT_FILE};

use super::requests::Requests;
use super::transform::Transform;
use crate::options::{Compression, GroupSize, Palette, PaletteMethod};

/// Rows of a tensor of the checkpoint, output channels of a projection or tokens of an embedding, whole or cut to some
/// of their columns.
#[expect(clippy::struct_field_names, reason = "rows of a tensor are its rows")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The tensor's name in the checkpoint.
    pub(crate) tensor: String,
    /// Which rows.
    pub(crate) rows: Range<u64>,
    /// The first column that is taken.
    pub(crate) first_column: u64,
    /// Columns that are taken.
    pub(crate) columns: u64,
    /// What becomes of the elements before they are stored, in this order.
    pub(crate) transforms: Vec<Transform>,
}

impl Rows {
    /// Whole rows, each of `columns`, of a tensor as it is.
    pub(crate) fn new(tensor: impl Into<String>, rows: Range<u64>, columns: u64) -> Self {
        Self { tensor: tensor.into(), rows, first_column: 0, columns, transforms: Vec::new() }
    }

    fn elements(&self) -> u64 {
        (self.rows.end - self.rows.start).saturating_mul(self.columns)
    }

    fn count(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    /// The given of these rows, counted from the first of them.
    pub(crate) fn with_rows(&self, rows: &Range<u64>) -> Self {
        let first = self.rows.start;
        Self { rows: first + rows.start..first + rows.end, ..self.clone() }
    }

    /// The given columns of these rows, counted from the first of them.
    pub(crate) fn with_columns(&self, columns: &Range<u64>) -> Self {
        let first_column = self.first_column + columns.start;
        Self { first_column, columns: columns.end - columns.start, ..self.clone() }
    }
}

/// What fills one or two blobs, in file order.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Rows as fp16: one blob.
    Float16 {
        /// Which rows.
        rows: Rows,
        /// Offset of the data.
        at: u64,
    },
    /// Rows through palettes: the indices, then the palettes, then a scale for each row, where they have one.
    Palettized {
        /// Which rows.
        rows: Rows,
        /// Bits per index.
        bits: u8,
        /// How palettes are found.
        method: PaletteMethod,
        /// Rows that share a palette.
        group_rows: u64,
        /// Offset of the indices.
        indices_at: u64,
        /// Offset of the palettes.
        palettes_at: u64,
        /// Offset of the scales.
        scales_at: Option<u64>,
    },
    /// Rows as int8: the integers, then a scale for each row.
    Int8 {
        /// Which rows.
        rows: Rows,
        /// Offset of the integers.
        data_at: u64,
        /// Offset of the scales.
        scales_at: u64,
    },
    /// Bytes that do not come from the checkpoint, such as RoPE tables: one blob.
    Generated {
        /// Packed elements.
        bytes: Arc<[u8]>,
        /// Offset of the data.
        at: u64,
    },
}

impl Job {
    /// Source elements that are read for it.
    pub(crate) fn source_elements(&self) -> u64 {
        match self {
            Self::Float16 { rows, .. } | Self::Palettized { rows, .. } | Self::Int8 { rows, .. } => rows.elements(),
            Self::Generated { .. } => 0,
        }
    }
}

/// A weight as the graph uses it.
#[derive(Clone, Debug)]
pub(crate) enum StoredWeight {
    /// A plain blob.
    Plain(Value),
    /// Indices and palettes.
    Palettized {
        /// Indices, in the shape of the weight.
        indices: Value,
        /// Palettes.
        lut: Value,
        /// A scale for each output channel of the result, `[1, channels, 1, 1]`.
        scale: Option<Value>,
    },
    /// Integers and scales.
    Int8 {
        /// Integers, in the shape of the weight.
        data: Value,
        /// A scale for each row, of the same rank.
        scale: Value,
    },
}

impl StoredWeight {
    /// Bytes of its blobs.
    fn bytes(&self) -> u64 {
        let size = |value: &Value| {
            let ty = value.ty.as_tensor();
            ty.map_or(0, |ty| (ty.element_count().unwrap_or(0) * u64::from(ty.dtype.bits())).div_ceil(8))
        };
        match self {
            Self::Plain(value) => size(value),
            Self::Palettized { indices, lut, scale } => size(indices) + size(lut) + scale.as_ref().map_or(0, size),
            Self::Int8 { data, scale } => size(data) + size(scale),
        }
    }
}

/// A group size that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("Cannot palettize `{tensor}`: group size {group_size} does not divide its {channels} output channels")]
pub struct GroupSizeError {
    /// The tensor, with the rows where it is split.
    pub tensor: String,
    /// The size asked for.
    pub group_size: u64,
    /// The channels there are.
    pub channels: u64,
    /// The nearest size that divides them.
    pub nearest: u64,
}

impl crate::error::Hint for GroupSizeError {
    fn hint(&self) -> Option<String> {
        Some(format!("use `--group-size {}` or `--group-size tensor`", self.nearest))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Rows {
        tensor: String,
        transforms: Vec<Transform>,
        start: u64,
        end: u64,
        first_column: u64,
        columns: u64,
        compression: Option<Compression>,
    },
    Generated(String),
}

impl Key {
    fn rows(rows: &Rows, compression: Option<Compression>) -> Self {
        let Rows { tensor, rows, first_column, columns, transforms } = rows.clone();
        let Range { start, end } = rows;
        Self::Rows { tensor, transforms, start, end, first_column, columns, compression }
    }
}

/// The plan of one weight file.
#[derive(Clone, Default)]
pub(crate) struct WeightFile {
    layout: BlobLayout,
    jobs: Vec<Job>,
    known: BTreeMap<Key, StoredWeight>,
    /// What else the graphs said of their weights.
    pub(crate) requests: Requests,
}

impl WeightFile {
    /// Rows of the checkpoint in the given shape, plain or compressed. The first axis of `shape` is the rows.
    pub(crate) fn weight(
        &mut self,
        rows: &Rows,
        shape: &[u64],
        compression: Option<Compression>,
    ) -> Result<StoredWeight, GroupSizeError> {
        let key = Key::rows(rows, compression);
        if let Some(stored) = self.known.get(&key) {
            return Ok(stored.clone());
        }
        let stored = match compression {
            None => {
                let (value, at) = self.blob(TensorType::fixed(DataType::Float16, shape));
                self.jobs.push(Job::Float16 { rows: rows.clone(), at });
                StoredWeight::Plain(value)
            }
            Some(Compression::Palette(palette)) => self.palettized(rows, shape, palette)?,
            Some(Compression::Int8) => self.int8(rows, shape),
        };
        self.known.insert(key, stored.clone());
        Ok(stored)
    }

    /// Rows of the checkpoint as fp16 in the given shape, such as the weight of a norm.
    pub(crate) fn plain(&mut self, rows: &Rows, shape: &[u64]) -> Value {
        let key = Key::rows(rows, None);
        if let Some(StoredWeight::Plain(value)) = self.known.get(&key) {
            return value.clone();
        }
        let (value, at) = self.blob(TensorType::fixed(DataType::Float16, shape));
        self.jobs.push(Job::Float16 { rows: rows.clone(), at });
        self.known.insert(key, StoredWeight::Plain(value.clone()));
        value
    }

    /// Generated data, made by `bytes` where `name` is not in the file yet.
    pub(crate) fn generated(&mut self, name: &str, ty: TensorType, bytes: impl FnOnce() -> Arc<[u8]>) -> Value {
        let key = Key::Generated(name.to_owned());
        if let Some(StoredWeight::Plain(value)) = self.known.get(&key) {
            return value.clone();
        }
        let (value, at) = self.blob(ty);
        self.jobs.push(Job::Generated { bytes: bytes(), at });
        self.known.insert(key, StoredWeight::Plain(value.clone()));
        value
    }

    /// Bytes of the finished file.
    pub(crate) fn size(&self) -> u64 {
        self.layout.total_size()
    }

    /// Bytes of the weights that come from the checkpoint.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        let stored = self.known.iter().filter(|(key, _)| matches!(key, Key::Rows { .. }));
        stored.map(|(_, weight)| weight.bytes()).sum()
    }

    /// Bytes of each table that does not come from the checkpoint.
    pub(crate) fn table_bytes(&self) -> BTreeMap<String, u64> {
        let named = |(key, weight): (&Key, &StoredWeight)| match key {
            Key::Generated(name) => Some((name.clone(), weight.bytes())),
            Key::Rows { .. } => None,
        };
        self.known.iter().filter_map(named).collect()
    }

    /// Where each blob goes, in file order.
    pub(crate) fn layout(&self) -> &BlobLayout {
        &self.layout
    }

    /// What fills the blobs, in file order.
    pub(crate) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    fn palettized(&mut self, rows: &Rows, shape: &[u64], palette: Palette) -> Result<StoredWeight, GroupSizeError> {
        let channels = rows.count();
        let group_rows = match palette.group_size {
            GroupSize::Tensor => channels,
            GroupSize::Channels(size) => u64::from(size.get()),
        };
        if group_rows == 0 || !channels.is_multiple_of(group_rows) {
            return Err(GroupSizeError {
                tensor: rows.tensor.clone(),
                group_size: group_rows,
                channels,
                nearest: nearest_divisor(channels, group_rows),
            });
        }
        let width = u32::from(palette.bits);
        let dtype = DataType::unsigned(width).unwrap_or(DataType::UInt8);
        let (indices, indices_at) = self.blob(TensorType::fixed(dtype, shape));
        let mut lut_shape = vec![channels / group_rows];
        lut_shape.resize(shape.len(), 1);
        lut_shape.extend([1_u64 << width, 1]);
        let (lut, palettes_at) = self.blob(TensorType::fixed(DataType::Float16, &lut_shape));
        let (scale, scales_at) = if palette.channel_scale {
            let (scale, at) = self.blob(TensorType::fixed(DataType::Float16, &[1, channels, 1, 1]));
            (Some(scale), Some(at))
        } else {
            (None, None)
        };
        let (rows, Palette { bits, method, .. }) = (rows.clone(), palette);
        self.jobs.push(Job::Palettized { rows, bits, method, group_rows, indices_at, palettes_at, scales_at });
        Ok(StoredWeight::Palettized { indices, lut, scale })
    }

    fn int8(&mut self, rows: &Rows, shape: &[u64]) -> StoredWeight {
        let (data, data_at) = self.blob(TensorType::fixed(DataType::Int8, shape));
        let mut scale_shape = vec![rows.count()];
        scale_shape.resize(shape.len(), 1);
        let (scale, scales_at) = self.blob(TensorType::fixed(DataType::Float16, &scale_shape));
        self.jobs.push(Job::Int8 { rows: rows.clone(), data_at, scales_at });
        StoredWeight::Int8 { data, scale }
    }

    /// The next blob, and where its data goes.
    fn blob(&mut self, ty: TensorType) -> (Value, u64) {
        let count = ty.element_count().expect("shapes of weights are fixed and were checked against the checkpoint");
        let offset = self.layout.push(ty.dtype, count).expect("numeric types have blobs and sizes fit 64 bits");
        (Value::blob(ty, BlobReference { file_name: WEIGHT_FILE.to_owned(), offset }), BlobLayout::data_offset(offset))
    }
}

/// The divisor of `channels` nearest to `wanted`; the larger one where two are as near.
pub(crate) fn nearest_divisor(channels: u64, wanted: u64) -> u64 {
    let divisors = (1..=channels.isqrt())
        .filter(|divisor| channels.is_multiple_of(*divisor))
        .flat_map(|divisor| [divisor, channels / divisor]);
    divisors.min_by_key(|divisor| (divisor.abs_diff(wanted), u64::MAX - divisor)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_group_size_divides_the_channels() {
        assert_eq!(nearest_divisor(896, 10), 8);
        assert_eq!(nearest_divisor(100, 8), 10);
        assert_eq!(nearest_divisor(7, 8), 7);
        assert_eq!(nearest_divisor(64, 64), 64);
    }

    #[test]
    fn a_weight_asked_for_twice_is_stored_once() {
        let mut file = WeightFile::default();
        let rows = Rows::new("w", 0..16, 32);
        let palette =
            Palette { bits: 4, group_size: GroupSize::Tensor, method: PaletteMethod::Fast, channel_scale: false };
        let palette = Compression::Palette(palette);
        file.weight(&rows, &[16, 32, 1, 1], Some(palette)).expect("the whole tensor is one group");
        let size = file.size();
        file.weight(&rows, &[16, 32, 1, 1], Some(palette)).expect("the whole tensor is one group");
        assert_eq!((file.size(), file.jobs().len()), (size, 1));
    }
}
