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

/// How much the squared error of a weight counts: as much as its column times its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Importance<'a> {
    /// Of each column.
    pub columns: &'a [f32],
    /// Of each row; alike where none.
    pub rows: Option<&'a [f32]>,
}

impl<'a> Importance<'a> {
    /// All rows count alike.
    pub fn of_columns(columns: &'a [f32]) -> Self {
        Self { columns, rows: None }
    }

    /// Requires one for each column and row of so many weights.
    pub(super) fn check(&self, weights: usize) -> Result<(), CompensateError> {
        let columns = self.columns.len().max(1);
        expect("weights beyond whole rows", weights % columns, 0)?;
        self.rows.map_or(Ok(()), |rows| expect("importances of rows", rows.len(), weights / columns))
    }

    /// That of the rows of a group, as parts of the largest of them: only what they are to each other counts.
    pub(super) fn of_group(&self, group: usize, group_rows: usize) -> Option<Vec<f32>> {
        let rows = self.rows?.chunks(group_rows.max(1)).nth(group)?;
        let most = rows.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        Some(rows.iter().map(|row| row / most).collect())
    }
}

/// Palettes with the least squared error, weighed by importance.
///
/// # Shapes
/// `weights: [importance.rows, importance.columns]`, row-major.
///
/// # Errors
/// The weights are not whole rows, or an importance is negative or not finite.
pub fn palettize_groups(
    weights: &[f32],
    importance: Importance<'_>,
    bits: u8,
    group_rows: usize,
) -> Result<GroupPalettes, CompensateError> {
    importance.check(weights.len())?;
    let group = importance.columns.len().saturating_mul(group_rows).max(1);
    crate::check_bits(bits)?;
    let alike = importance.columns.repeat(group_rows);
    let make = || Palettizer::new(bits, Method::Fast).map(|palettizer| (palettizer, Vec::new(), Vec::new()));
    let palettes = weights.par_chunks(group).enumerate().map_init(make, |state, (at, weights)| {
        let (palettizer, narrow, indices) = state.as_mut().map_err(|error| error.clone())?;
        narrow.clear();
        narrow.extend(weights.iter().map(|weight| to_f16(*weight)));
        indices.clear();
        let of_rows = importance.of_group(at, group_rows);
        let product = of_rows.map(|rows| -> Vec<f32> {
            rows.iter().flat_map(|row| importance.columns.iter().map(move |column| row * column)).collect()
        });
        let importance = product.as_deref().or(alike.get(..narrow.len())).unwrap_or_default();
        Ok(palettizer.weighted_group(narrow, importance, indices)?.palette.entries().to_vec())
    });
    let palettes = palettes.collect::<Result<Vec<_>, CompensateError>>()?;
    Ok(GroupPalettes { bits, group_rows, entries: palettes.concat() })
}

/// The nearest finite fp16.
pub(super) fn to_f16(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())) + f16::ZERO
}
