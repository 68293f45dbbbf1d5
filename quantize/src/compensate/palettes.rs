//! Palettes for groups of rows.

use half::f16;
use rayon::prelude::*;

use super::{CompensateError, expect};
use crate::{Method, Palettizer};

/// Palettes of `2^bits` entries, each for `group_rows` rows in a row, the last for those that are left.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPalettes {
    /// Bits of an index.
    pub bits: u8,
    /// Rows that share a palette.
    pub group_rows: usize,
    /// `[groups, 2^bits]`, ascending within a group.
    pub entries: Vec<f16>,
}

impl GroupPalettes {
    /// The palette of a row.
    pub fn of_row(&self, row: usize) -> &[f16] {
        let size = 1 << self.bits;
        let start = row / self.group_rows.max(1) * size;
        self.entries.get(start..start + size).unwrap_or_default()
    }

    /// Requires palettes for so many rows.
    pub(super) fn check(&self, rows: usize) -> Result<(), CompensateError> {
        crate::check_bits(self.bits)?;
        let group_rows = self.group_rows.max(1);
        expect("palette entries", self.entries.len(), rows.div_ceil(group_rows) << self.bits)
    }
}

/// Palettes with the least squared error, weighed by the importance of each column.
///
/// # Shapes
/// `weights: [rows, importance.len()]`, row-major.
///
/// # Errors
/// The weights are not whole rows, or an importance is negative or not finite.
pub fn palettize_groups(
    weights: &[f32],
    importance: &[f32],
    bits: u8,
    group_rows: usize,
) -> Result<GroupPalettes, CompensateError> {
    let columns = importance.len();
    let group = columns.saturating_mul(group_rows).max(1);
    expect("weights beyond whole rows", weights.len() % columns.max(1), 0)?;
    crate::check_bits(bits)?;
    let importance = importance.repeat(group_rows);
    let make = || Palettizer::new(bits, Method::Fast).map(|palettizer| (palettizer, Vec::new(), Vec::new()));
    let palettes = weights.par_chunks(group).map_init(make, |state, weights| {
        let (palettizer, narrow, indices) = state.as_mut().map_err(|error| error.clone())?;
        narrow.clear();
        narrow.extend(weights.iter().map(|weight| to_f16(*weight)));
        indices.clear();
        let importance = importance.get(..narrow.len()).unwrap_or_default();
        Ok(palettizer.weighted_group(narrow, importance, indices)?.palette.entries().to_vec())
    });
    let palettes = palettes.collect::<Result<Vec<_>, CompensateError>>()?;
    Ok(GroupPalettes { bits, group_rows, entries: palettes.concat() })
}

/// The nearest finite fp16.
pub(super) fn to_f16(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())) + f16::ZERO
}
