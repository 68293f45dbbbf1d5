//! Entries that fit the assigned weights best.

use half::f16;
use rayon::prelude::*;

use super::palettes::{GroupPalettes, to_f16};
use super::{CompensateError, expect};

/// Moves each entry to the mean of the targets that were assigned to it, weighed by the importance of their columns.
/// Entries without weights stay.
///
/// # Shapes
/// `targets` and `indices`: `[rows, importance.len()]`.
///
/// # Errors
/// The slices do not fit each other.
pub fn refit(
    palettes: &GroupPalettes,
    targets: &[f32],
    indices: &[u8],
    importance: &[f32],
) -> Result<GroupPalettes, CompensateError> {
    let columns = importance.len().max(1);
    expect("indices", indices.len(), targets.len())?;
    palettes.check(targets.len() / columns)?;
    let size = 1 << palettes.bits;
    let group = columns * palettes.group_rows;
    let groups = targets.par_chunks(group).zip(indices.par_chunks(group)).zip(palettes.entries.par_chunks(size));
    let entries = groups.map(|((targets, indices), entries)| {
        let mut sums = vec![(0.0_f64, 0.0_f64); size];
        let rows = targets.chunks_exact(columns).zip(indices.chunks_exact(columns));
        for (targets, indices) in rows {
            for ((target, index), importance) in targets.iter().zip(indices).zip(importance) {
                if let Some((sum, mass)) = sums.get_mut(usize::from(*index)) {
                    *sum += f64::from(*target) * f64::from(*importance);
                    *mass += f64::from(*importance);
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
