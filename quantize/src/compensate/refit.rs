//! Entries that fit the assigned weights best.

use half::f16;
use rayon::prelude::*;

use super::palettes::{GroupPalettes, Importance, to_f16};
use super::{CompensateError, expect};

/// Moves each entry to the mean of the targets that were assigned to it, weighed by importance. Entries without
/// weights stay.
///
/// # Shapes
/// `targets` and `indices`: `[importance.rows, importance.columns]`.
///
/// # Errors
/// The slices do not fit each other.
pub fn refit(
    palettes: &GroupPalettes,
    targets: &[f32],
    indices: &[u8],
    importance: Importance<'_>,
) -> Result<GroupPalettes, CompensateError> {
    let columns = importance.columns.len().max(1);
    expect("indices", indices.len(), targets.len())?;
    importance.check(targets.len())?;
    palettes.check(targets.len() / columns)?;
    let size = 1 << palettes.bits;
    let group = columns * palettes.group_rows;
    let groups = targets.par_chunks(group).zip(indices.par_chunks(group)).zip(palettes.entries.par_chunks(size));
    let entries = groups.enumerate().map(|(at, ((targets, indices), entries))| {
        let mut sums = vec![(0.0_f64, 0.0_f64); size];
        let of_rows = importance.of_group(at, palettes.group_rows);
        let of_row = |row: usize| of_rows.as_ref().and_then(|rows| rows.get(row)).map_or(1.0, |row| f64::from(*row));
        let rows = targets.chunks_exact(columns).zip(indices.chunks_exact(columns));
        for (row, (targets, indices)) in rows.enumerate() {
            let own = of_row(row);
            for ((target, index), importance) in targets.iter().zip(indices).zip(importance.columns) {
                if let Some((sum, mass)) = sums.get_mut(usize::from(*index)) {
                    let importance = own * f64::from(*importance);
                    *sum += f64::from(*target) * importance;
                    *mass += importance;
                }
            }
        }
        moved(entries, &sums)
    });
    Ok(GroupPalettes { entries: groups_of(entries), ..*palettes })
}

fn groups_of(entries: impl IndexedParallelIterator<Item = Vec<f16>>) -> Vec<f16> {
    entries.collect::<Vec<_>>().concat()
}

#[expect(clippy::cast_possible_truncation, reason = "entries are fp16")]
fn moved(entries: &[f16], sums: &[(f64, f64)]) -> Vec<f16> {
    let means = entries.iter().zip(sums).map(
        |(entry, (sum, mass))| {
            if *mass > 0.0 { to_f16((sum / mass) as f32) } else { *entry }
        },
    );
    let mut means: Vec<f16> = means.collect();
    // Means of neighbouring entries may pass each other, as each column counts for itself.
    means.sort_by(f16::total_cmp);
    means
}
