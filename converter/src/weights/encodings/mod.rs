//! The ways to store a weight, one file each.
//!
//! An encoding says which blobs it takes, which constant a graph makes of them, how rows become bytes, how that is measured
//! and how it is named. It knows no layer; what it is told is which rows of which tensor, and in which shape.

pub(crate) mod blocks;
pub(crate) mod calibrated;
#[cfg(test)]
pub(crate) mod example;
pub(crate) mod fp16;
pub(crate) mod int8;
pub(crate) mod palette;

use std::fmt;

use anec_mil::{BuildError, FunctionBuilder, Opset, TensorType, Value, Var};

use self::blocks::Run;
use self::palette::{GroupSize, PaletteMethod};
use super::rows::Rows;
use super::storage::Storage;
use crate::error::Hint;

/// Every encoding.
pub(crate) static ENCODINGS: &[&Kind] = &[
    &fp16::KIND,
    &int8::KIND,
    // Before the palettes whose grammar its own begins with.
    &calibrated::KIND,
    &palette::KIND,
    #[cfg(test)]
    &example::KIND,
];

/// A row of the table: how an encoding is asked for.
pub(crate) struct Kind {
    /// What the command line takes.
    pub(crate) grammar: &'static str,
    /// Texts that it takes, for the tests that every encoding must pass.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    pub(crate) examples: &'static [&'static str],
    /// Reads such a text; none where it is of another encoding.
    pub(crate) parse: fn(&str, &Defaults) -> Option<Result<Storage, StorageError>>,
}

/// What the options that speak of no weight in particular say; they hold for what a storage leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `--group-size`.
    pub group_size: Option<GroupSize>,
    /// `--palette`.
    pub method: PaletteMethod,
    /// `--channel-scale`.
    pub channel_scale: bool,
}

/// A storage that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// Text of no encoding.
    #[error("expected {}", grammar())]
    Unknown,
    /// A parameter that the encoding does not have.
    #[error("expected {expected}")]
    Parameter {
        /// What it takes instead.
        expected: &'static str,
    },
    /// It says one thing, and an option for all weights another.
    #[error("contradicts `{option}`")]
    Contradiction {
        /// The other option with its value.
        option: String,
    },
}

/// A weight that an encoding cannot store.
#[derive(Debug, thiserror::Error)]
#[error("Cannot store `{tensor}` as `{storage}`: {problem}")]
pub struct UnfitError {
    /// The tensor.
    pub tensor: String,
    /// The storage.
    pub storage: String,
    /// Why not.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Hint for UnfitError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// What clients are told of palettes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lut {
    /// Bits of an index.
    pub bits: u8,
    /// Output channels that share a palette, where not all do.
    pub channels: Option<u64>,
}

/// A weight in a graph.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    /// The weight as fp16.
    pub(crate) weight: Var,
    /// What the result of a projection is to be multiplied with, `[1, rows, 1, 1]`.
    pub(crate) result_scale: Option<Value>,
}

/// A way to store a weight, with its parameters.
pub(crate) trait Encoding: fmt::Debug + Send + Sync {
    /// How it is written on the command line, with every parameter. Equal texts mean equal bytes.
    fn spec(&self) -> String;

    /// Its parameters in words, for meta files.
    fn description(&self) -> String;

    /// As [`description`](Self::description), in a sentence about decisions.
    fn decision(&self) -> String;

    /// What names of packages end in.
    fn suffix(&self) -> String;

    /// Bits of an index or integer, or none where weights are stored as they are. Emission measures the error of all others.
    fn quantized_bits(&self) -> Option<u8>;

    /// What clients are told of palettes; they know of nothing else.
    fn lut(&self) -> Option<Lut> {
        None
    }

    /// Whether its indices and palettes are those that calibration found.
    fn is_calibrated(&self) -> bool {
        false
    }

    /// Rows that should not be cut apart where a weight is split.
    fn row_unit(&self) -> u64 {
        1
    }

    /// Whether rows can be gathered from it; else why not.
    fn check_table(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether programs of an operation set can read it; else what they can.
    fn check_opset(&self, _opset: Opset) -> Result<(), &'static str> {
        Ok(())
    }

    /// Rows of the constant: those of the weight, and, where it is made of larger units, some behind them that are nobody's.
    /// Their bytes are zeros, and no graph may use what they give.
    fn stored_rows(&self, rows: &Rows) -> u64 {
        rows.count()
    }

    /// The blobs of a weight in file order. The first axis of `shape` is the rows, which the blobs have as
    /// [`stored_rows`](Self::stored_rows) says.
    ///
    /// # Errors
    /// Rows that its parameters do not fit.
    fn blobs(&self, rows: &Rows, shape: &[u64]) -> Result<Vec<TensorType>, UnfitError>;

    /// What a graph makes of the blobs, under a name that starts with `name`.
    fn constant(&self, ops: &mut FunctionBuilder, name: &str, blobs: Vec<Value>) -> Result<Constant, BuildError>;

    /// How the rows become the blobs, whose data is at `offsets`.
    fn runs(&self, rows: &Rows, offsets: &[u64]) -> Vec<Run>;
}

/// Reads the text of any encoding.
pub(super) fn parse(text: &str, defaults: &Defaults) -> Result<Storage, StorageError> {
    ENCODINGS.iter().find_map(|kind| (kind.parse)(text, defaults)).unwrap_or(Err(StorageError::Unknown))
}

/// What the command line takes.
pub(crate) fn grammar() -> String {
    let all: Vec<&str> = ENCODINGS.iter().map(|kind| kind.grammar).collect();
    match all.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => all.concat(),
    }
}

/// The blobs that an encoding asked for.
fn exactly<T: fmt::Debug, const N: usize>(blobs: Vec<T>) -> [T; N] {
    blobs.try_into().expect("an encoding is given the blobs that it asked for")
}

#[cfg(test)]
mod tests;
