//! Reads the rows of a block, with what becomes of them before they are encoded.

use std::ops::Range;

use half::f16;

use crate::source::checkpoint::{Checkpoint, CheckpointError};
use crate::weights::encodings::blocks::to_usize;
use crate::weights::rows::Rows;
use crate::weights::transform::{self, Matrix};

/// Replaces the content of `weights` by the given rows of a weight; the system may have the memory of its pages back.
///
/// # Errors
/// A value that is not finite, or that does not fit fp16.
pub(super) fn read(
    checkpoint: &Checkpoint,
    source: &Rows,
    rows: &Range<u64>,
    weights: &mut Vec<f16>,
) -> Result<(), CheckpointError> {
    if !source.transforms.is_empty() {
        return read_transformed(checkpoint, source, rows, weights);
    }
    let range = to_usize(rows.start)..to_usize(rows.end);
    let count = range.len();
    let result = checkpoint.rows_f16(&source.tensor, range.clone(), weights);
    checkpoint.release_rows(&source.tensor, range);
    keep_columns(source, count, weights);
    result
}

fn read_transformed(
    checkpoint: &Checkpoint,
    source: &Rows,
    rows: &Range<u64>,
    weights: &mut Vec<f16>,
) -> Result<(), CheckpointError> {
    let wanted: Vec<u64> = rows.clone().collect();
    let mut buffer = Vec::new();
    let mut read = |wanted: &[u64]| {
        let mut elements = Vec::new();
        let runs = wanted.chunk_by(|row, next| row + 1 == *next);
        for (first, last) in runs.filter_map(|run| Some((run.first()?, run.last()?))) {
            let range = to_usize(*first)..to_usize(*last) + 1;
            checkpoint.rows_f32(&source.tensor, range.clone(), &mut buffer)?;
            checkpoint.release_rows(&source.tensor, range);
            elements.extend_from_slice(&buffer);
        }
        Ok::<_, CheckpointError>(Matrix { columns: checkpoint.row_elements(&source.tensor), elements })
    };
    let Matrix { columns, elements } = transform::rows(&source.transforms, &wanted, &mut read)?;
    weights.clear();
    for (index, value) in elements.into_iter().enumerate() {
        let rounded = f16::from_f32(value);
        if !rounded.is_finite() {
            let position = vec![to_usize(rows.start) + index / columns.max(1), index % columns.max(1)];
            return Err(CheckpointError::Overflow { tensor: source.tensor.clone(), position, value });
        }
        weights.push(rounded);
    }
    keep_columns(source, wanted.len(), weights);
    Ok(())
}

/// Cuts `count` whole rows to the columns that are taken.
fn keep_columns(rows: &Rows, count: usize, weights: &mut Vec<f16>) {
    let (first, columns) = (to_usize(rows.first_column), to_usize(rows.columns));
    let length = weights.len() / count.max(1);
    if columns >= length {
        return;
    }
    for row in 0..count {
        let start = row * length + first;
        weights.copy_within(start..start + columns, row * columns);
    }
    weights.truncate(count * columns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_to_their_columns() {
        let rows = Rows::new("w", 0..2, 4).with_columns(&(1..3));
        let mut weights: Vec<f16> = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(f16::from_f32).to_vec();
        keep_columns(&rows, 2, &mut weights);
        assert_eq!(weights, [1.0, 2.0, 5.0, 6.0].map(f16::from_f32));
    }
}
