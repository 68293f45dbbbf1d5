//! How far stored elements are from those that were wanted.

use anec_schemas::report::{TableQuality, WeightQuality};

use super::constants::Constant;
use super::layer_of;
use crate::oracle::{OracleConfig, Turn, rotation_table};
use crate::verify::metrics::finite;

/// A weight with what it should be.
pub(super) struct Compared<'a> {
    /// The model.
    pub(super) part: &'a str,
    /// The constant.
    pub(super) name: &'a str,
    /// The tensor of the checkpoint.
    pub(super) tensor: &'a str,
    /// Its element type.
    pub(super) encoding: &'a str,
    /// Elements of a row.
    pub(super) columns: usize,
    /// What is stored, row by row.
    pub(super) stored: &'a [f32],
}

impl Compared<'_> {
    /// The quality, where `wanted` gives the elements that each row should have.
    pub(super) fn with<'w>(&self, wanted: impl Fn(usize) -> &'w [f32]) -> WeightQuality {
        let (mut signal, mut noise, mut error_max) = (0.0, 0.0, 0.0_f64);
        let (mut misassigned, mut misassigned_in_row) = (0, 0);
        let palettized = self.encoding.starts_with("uint");
        let columns = self.columns.max(1);
        for (row, stored) in self.stored.chunks_exact(columns).enumerate() {
            let wanted = wanted(row);
            for (stored, wanted) in stored.iter().zip(wanted) {
                let error = f64::from(stored - wanted);
                signal += f64::from(*wanted) * f64::from(*wanted);
                noise += error * error;
                error_max = error_max.max(error.abs());
            }
            if palettized {
                let count = misassigned_in(stored, wanted);
                misassigned += count;
                misassigned_in_row = count.max(misassigned_in_row);
            }
        }
        WeightQuality {
            part: self.part.to_owned(),
            name: self.name.to_owned(),
            tensor: self.tensor.to_owned(),
            layer: layer_of(self.tensor),
            shape: vec![(self.stored.len() / columns) as u64, columns as u64],
            encoding: self.encoding.to_owned(),
            snr_db: (noise > 0.0).then(|| finite(10.0 * (signal / noise).log10())),
            error_max: finite(error_max),
            misassigned,
            misassigned_in_row,
        }
    }
}

/// Stored elements with a factor for each row.
pub(super) fn scaled(stored: &[f32], columns: usize, factors: &[f32]) -> Vec<f32> {
    let rows = stored.chunks_exact(columns.max(1)).zip(factors);
    rows.flat_map(|(row, factor)| row.iter().map(move |value| value * factor)).collect()
}

/// The quality of a table of a sine or cosine, held against the nearest that the model has; `None` where its rows are not those of a head.
pub(super) fn table(
    part: &str,
    name: &str,
    constant: &Constant,
    function: fn(f64) -> f64,
    config: &OracleConfig,
) -> Option<TableQuality> {
    let width = *constant.tensor.shape().last()?;
    if width != config.rotary_dim && width != config.rotary_dim / 2 {
        return None;
    }
    let rows = constant.tensor.count() / width;
    let stored = constant.tensor.as_floats().ok()?;
    let error = |turn| {
        let wanted = rotation_table(config, turn, rows, width, function);
        stored.iter().zip(wanted).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
    };
    let error_max = error(Turn::Global).min(error(Turn::Local));
    Some(TableQuality { part: part.to_owned(), name: name.to_owned(), rows: rows as u64, error_max: finite(error_max) })
}

/// Elements of a row to which another of its values is clearly nearer than the one that is stored.
fn misassigned_in(stored: &[f32], wanted: &[f32]) -> u64 {
    let mut entries = stored.to_vec();
    entries.sort_unstable_by(f32::total_cmp);
    entries.dedup();
    let misassigned = stored.iter().zip(wanted).filter(|(stored, wanted)| {
        let above = entries.partition_point(|entry| entry < wanted);
        let neighbours = [above.checked_sub(1), Some(above)].into_iter().flatten().filter_map(|at| entries.get(at));
        let nearest = neighbours.map(|entry| (entry - **wanted).abs()).fold(f32::INFINITY, f32::min);
        // Entries are rounded to fp16; where two are equally near, either may be taken.
        (**stored - **wanted).abs() > nearest + wanted.abs() / 512.0 + 1e-6
    });
    misassigned.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_entry_shows_as_misassigned_elements() {
        let wanted = [0.0, 0.1, 1.0, 1.1, -1.0, -0.9];
        assert_eq!(misassigned_in(&[0.05, 0.05, 1.05, 1.05, -0.95, -0.95], &wanted), 0);
        assert_eq!(misassigned_in(&[0.05, 0.05, -3.0, -3.0, -0.95, -0.95], &wanted), 2);
    }
}
