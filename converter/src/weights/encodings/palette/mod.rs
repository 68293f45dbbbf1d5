//! Indices into palettes of fp16 numbers, with a scale for each output channel where one is asked for.

mod coder;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use anec_mil::{BuildError, DataType, FunctionBuilder, Opset, TensorType, Value};
use anec_quantize::Method;

use self::coder::{Parameters, Places};
use super::blocks::{BLOCK_ELEMENTS, Coder, Run, groups_to_bytes, rows_per_block};
use super::{Constant, Defaults, Encoding, Kind, Lut, StorageError, UnfitError};
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

/// Palette index widths that Core ML can store.
///
/// # Source
/// `constexpr_lut_to_dense` takes uint1, uint2, uint3, uint4, uint6 and uint8 indices.
pub(crate) const PALETTE_BITS: [u8; 6] = [1, 2, 3, 4, 6, 8];

pub(crate) static KIND: Kind = Kind {
    grammar: "lutN[:GROUP][+scale][+exact]",
    examples: &["lut1", "lut2", "lut3", "lut4:8", "lut6:tensor+scale", "lut8", "lut4:8+scale+exact"],
    parse: |text, defaults| {
        let text = text.strip_prefix("lut").filter(|text| !text.ends_with(super::calibrated::SUFFIX))?;
        Some(parse(text, defaults).map(Storage::new))
    },
};

/// How many output channels share a palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupSize {
    /// All of them.
    Tensor,
    /// This many; the last group is short where they do not divide the channels.
    Channels(NonZeroU32),
}

impl Default for GroupSize {
    /// 8 channels: whole tensors lose too much at any width.
    fn default() -> Self {
        const EIGHT: NonZeroU32 = NonZeroU32::new(8).expect("8 is not zero");
        Self::Channels(EIGHT)
    }
}

impl FromStr for GroupSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "tensor" {
            return Ok(Self::Tensor);
        }
        text.parse().map(Self::Channels).map_err(|_| "expected `tensor` or a positive number of channels".to_owned())
    }
}

impl fmt::Display for GroupSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.write_str("tensor"),
            Self::Channels(channels) => write!(f, "{channels}"),
        }
    }
}

/// How the entries of palettes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum PaletteMethod {
    /// A local optimum near the best palette.
    #[default]
    Fast,
    /// The best palette, at a multiple of the time.
    Exact,
}

/// The blobs of indices and of palettes, and one of scales where there are some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palettes {
    /// Bits per index.
    bits: u8,
    /// Who shares a palette.
    group_size: GroupSize,
    /// Whether each output channel also has a scale of its own.
    channel_scale: bool,
    /// How entries are found.
    method: PaletteMethod,
}

/// Reads what follows `lut`.
pub(super) fn parse(text: &str, defaults: &Defaults) -> Result<Palettes, StorageError> {
    let parameter = |expected| StorageError::Parameter { expected };
    let mut parts = text.split('+');
    let first = parts.next().unwrap_or_default();
    let (bits, group) = first.split_once(':').map_or((first, None), |(bits, group)| (bits, Some(group)));
    let bits = bits.parse().ok().filter(|bits| PALETTE_BITS.contains(bits));
    let bits = bits.ok_or_else(|| parameter("lut1, lut2, lut3, lut4, lut6 or lut8"))?;
    let group = group.map(str::parse::<GroupSize>).transpose();
    let group = group.map_err(|_| parameter("`tensor` or a positive number of channels behind the colon"))?;
    let group_size = match (group, defaults.group_size) {
        (Some(own), Some(general)) if own != general => {
            return Err(StorageError::Contradiction { option: format!("--group-size {general}") });
        }
        (own, general) => own.or(general).unwrap_or_default(),
    };
    let Defaults { mut method, mut channel_scale, .. } = *defaults;
    for part in parts {
        match part {
            "scale" => channel_scale = true,
            "exact" => method = PaletteMethod::Exact,
            _ => return Err(parameter("`+scale` or `+exact` behind the bits and the group size")),
        }
    }
    Ok(Palettes { bits, group_size, channel_scale, method })
}

impl Palettes {
    /// Whether output channels have scales.
    pub(super) fn has_scale(self) -> bool {
        self.channel_scale
    }

    /// Rows that share a palette.
    fn group_rows(self, rows: &Rows) -> u64 {
        let count = rows.count().max(1);
        match self.group_size {
            GroupSize::Tensor => count,
            GroupSize::Channels(size) => u64::from(size.get()).min(count),
        }
    }

    fn method(self) -> Method {
        match self.method {
            PaletteMethod::Fast => Method::Fast,
            PaletteMethod::Exact => Method::Exact,
        }
    }
}

impl Encoding for Palettes {
    fn spec(&self) -> String {
        let Self { bits, group_size, channel_scale, method } = self;
        let scale = if *channel_scale { "+scale" } else { "" };
        let exact = if *method == PaletteMethod::Exact { "+exact" } else { "" };
        format!("lut{bits}:{group_size}{scale}{exact}")
    }

    fn description(&self) -> String {
        let scale = if self.channel_scale { ", a scale per channel" } else { "" };
        format!("{} bits, group size {}{scale}", self.bits, self.group_size)
    }

    fn decision(&self) -> String {
        let scale = if self.channel_scale { " and a scale per channel" } else { "" };
        format!("{}-bit palettes, group size {}{scale}", self.bits, self.group_size)
    }

    fn suffix(&self) -> String {
        format!("_lut{}", self.bits)
    }

    fn quantized_bits(&self) -> Option<u8> {
        Some(self.bits)
    }

    fn lut(&self) -> Option<Lut> {
        let channels = match self.group_size {
            GroupSize::Tensor => None,
            GroupSize::Channels(channels) => Some(u64::from(channels.get())),
        };
        Some(Lut { bits: self.bits, channels })
    }

    fn row_unit(&self) -> u64 {
        match self.group_size {
            GroupSize::Tensor => 1,
            GroupSize::Channels(channels) => u64::from(channels.get()),
        }
    }

    fn check_table(&self) -> Result<(), &'static str> {
        if self.channel_scale { Err("a table that is gathered from has no channels to scale") } else { Ok(()) }
    }

    /// # Source
    /// `constexpr_lut_to_dense` before ios18 has one table of 2, 4, 16, 64 or 256 entries.
    fn check_opset(&self, opset: Opset) -> Result<(), &'static str> {
        match self.group_size {
            _ if opset >= Opset::Ios18 => Ok(()),
            _ if self.bits == 3 => Err("palettes before iOS 18 and macOS 15 have 1, 2, 4, 6 or 8 bits"),
            GroupSize::Tensor => Ok(()),
            GroupSize::Channels(_) => {
                Err("palettes before iOS 18 and macOS 15 are of a whole tensor: use `--group-size tensor`, and \
                     `--channel-scale` for a scale of each channel")
            }
        }
    }

    fn stored_rows(&self, rows: &Rows) -> u64 {
        rows.count().next_multiple_of(self.group_rows(rows))
    }

    /// # Source
    /// `constexpr_lut_to_dense`: the number of palettes divides the rows of the indices, so a short group is filled up.
    fn blobs(&self, rows: &Rows, shape: &[u64]) -> Result<Vec<TensorType>, UnfitError> {
        let (channels, group_rows) = (rows.count(), self.group_rows(rows));
        let width = u32::from(self.bits);
        let dtype = DataType::unsigned(width).expect("there are integers as wide as the indices of palettes");
        let mut lut_shape = vec![channels.div_ceil(group_rows)];
        lut_shape.resize(shape.len(), 1);
        lut_shape.extend([1_u64 << width, 1]);
        let mut indices_shape = shape.to_vec();
        if let Some(first) = indices_shape.first_mut() {
            *first = self.stored_rows(rows);
        }
        let lut = TensorType::fixed(DataType::Float16, &lut_shape);
        let mut blobs = vec![TensorType::fixed(dtype, &indices_shape), lut];
        if self.channel_scale {
            blobs.push(TensorType::fixed(DataType::Float16, &[1, channels, 1, 1]));
        }
        Ok(blobs)
    }

    fn constant(&self, ops: &mut FunctionBuilder, name: &str, blobs: Vec<Value>) -> Result<Constant, BuildError> {
        let mut blobs = blobs.into_iter();
        let mut next = || blobs.next().expect("an encoding is given the blobs that it asked for");
        let (indices, lut) = (next(), next());
        // The scales stand behind the convolution: the Neural Engine's compiler aborts where a palettized weight is
        // scaled itself.
        let result_scale = self.channel_scale.then(next);
        let weight = ops.lut_to_dense(&format!("{name}_palettized"), indices, lut)?;
        Ok(Constant { weight, result_scale })
    }

    fn runs(&self, rows: &Rows, offsets: &[u64]) -> Vec<Run> {
        let (bits, group_rows) = (u64::from(self.bits), self.group_rows(rows));
        let parameters = Parameters { bits: self.bits, method: self.method(), group_rows };
        let places = Places::new(rows, &parameters, offsets);
        let is_large = group_rows.saturating_mul(rows.columns) > BLOCK_ELEMENTS;
        let groups = rows.count().div_ceil(group_rows);
        // A run must start on a byte; one that holds all rows does.
        if is_large && (groups == 1 || groups_to_bytes(rows.columns, bits, group_rows) == 1) {
            let rows_per_block = rows_per_block(rows.columns, bits, 1);
            let group = |group: u64| {
                let start = rows.rows.start + group * group_rows;
                let end = (start + group_rows).min(rows.rows.end);
                let coder = coder::Shared { parameters, places, first_row: start };
                Run { rows: start..end, rows_per_block, coder: Coder::Shared(Box::new(coder)) }
            };
            return (0..groups).map(group).collect();
        }
        let rows_per_block = rows_per_block(rows.columns, bits, group_rows);
        let coder = Coder::Alone(Box::new(coder::Groups { parameters, places }));
        vec![Run { rows: rows.rows.clone(), rows_per_block, coder }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str, defaults: &Defaults) -> Result<String, StorageError> {
        Storage::parse(text, defaults).map(|storage| storage.to_string())
    }

    #[test]
    fn what_a_palette_leaves_open_is_as_the_general_options_say() {
        let none = Defaults::default();
        assert_eq!(spec("lut4", &none).as_deref(), Ok("lut4:8"));
        assert_eq!(spec("lut8", &none).as_deref(), Ok("lut8:8"));
        assert_eq!(spec("lut6:tensor+scale", &none).as_deref(), Ok("lut6:tensor+scale"));
        let group_size = Some(GroupSize::Channels(NonZeroU32::new(16).expect("not zero")));
        let given = Defaults { group_size, method: PaletteMethod::Exact, channel_scale: true };
        assert_eq!(spec("lut4", &given).as_deref(), Ok("lut4:16+scale+exact"));
        assert_eq!(spec("lut4:16", &given).as_deref(), Ok("lut4:16+scale+exact"));
        let contradiction = StorageError::Contradiction { option: "--group-size 16".to_owned() };
        assert_eq!(spec("lut4:8", &given), Err(contradiction));
    }

    #[test]
    fn widths_and_words_that_palettes_do_not_have_are_refused() {
        for wrong in ["lut", "lut5", "lut4:", "lut4:0", "lut4:8:8", "lut4+", "lut4+scales", "lut4 ", "lut04x"] {
            assert!(spec(wrong, &Defaults::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_short_last_group_is_stored_as_a_whole_one() {
        let shapes = |text: &str, rows: u64| {
            let storage: Storage = text.parse().expect("a storage");
            let rows = Rows::new("w", 8..8 + rows, 32);
            let blobs = storage.encoding().blobs(&rows, &[rows.count(), 32, 1, 1]).expect("any rows fit");
            let shapes: Vec<u64> = blobs.iter().map(|ty| ty.fixed_shape().expect("fixed")[0]).collect();
            assert_eq!(storage.encoding().stored_rows(&rows), shapes[0]);
            (shapes[0], shapes[1])
        };
        assert_eq!(shapes("lut4:8", 32_001), (32_008, 4001));
        assert_eq!(shapes("lut4:8", 32_000), (32_000, 4000));
        assert_eq!(shapes("lut6:tensor", 32_003), (32_003, 1));
        assert_eq!(shapes("lut4:8", 3), (3, 1), "fewer rows than a group has share one palette");
        assert_eq!(shapes("lut4:8+scale", 9), (16, 2));
        assert_eq!(shapes("lut4:8+calibrated", 9), (16, 2));
    }

    #[test]
    fn large_groups_are_cut_into_blocks_of_bounded_size() {
        let storage: Storage = "lut4:tensor".parse().expect("a storage");
        let rows = Rows::new("w", 0..128_256, 8192);
        let runs = storage.encoding().runs(&rows, &[128, 1 << 40]);
        let [Run { rows_per_block, coder: Coder::Shared(_), .. }] = runs.as_slice() else { panic!("{runs:?}") };
        assert!(rows_per_block * 8192 <= BLOCK_ELEMENTS);
        assert_eq!(super::rows_per_block(8192, 4, 8) * 8192, BLOCK_ELEMENTS);
    }
}
