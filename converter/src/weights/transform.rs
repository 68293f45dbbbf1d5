//! What becomes of a tensor of the checkpoint before it is stored, so that graphs stay as simple as the Neural Engine
//! wants them: `1 + weight` of a norm, heads in another order, channels up to a multiple.
//!
//! Transforms are computed in f32 on the rows of one block at a time and rounded to fp16 once, at the end.

use std::cmp::Ordering;
use std::sync::Arc;

/// A finite factor or term.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f32);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One step. Rows and columns that later steps, or requests for rows, speak of are those of its result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transform {
    /// Adds a number to every element.
    Add(Number),
    /// Multiplies every element.
    Scale(Number),
    /// Puts rows in another order within each run of as many rows as the order has: row `i` of a run is row `order[i]`
    /// of the run before. An order of `head_dim` rows turns every head alike.
    PermuteRows(Arc<[u64]>),
    /// Adds rows of zeros behind those there are.
    PadRows {
        /// Rows there are.
        from: u64,
        /// Rows of the result.
        to: u64,
    },
    /// Adds columns of zeros behind those there are.
    PadColumns {
        /// Columns of the result.
        to: u64,
    },
}

impl Transform {
    /// [`Add`](Self::Add).
    pub fn add(term: f32) -> Self {
        Self::Add(Number(term))
    }

    /// [`Scale`](Self::Scale).
    pub fn scale(factor: f32) -> Self {
        Self::Scale(Number(factor))
    }

    /// What it is, in a word and its parameters: `add 1`, `pad_rows 64`.
    pub fn description(&self) -> String {
        match self {
            Self::Add(Number(term)) => format!("add {term}"),
            Self::Scale(Number(factor)) => format!("scale {factor}"),
            Self::PermuteRows(order) => {
                let order: Vec<String> = order.iter().map(u64::to_string).collect();
                format!("permute_rows {}", order.join(","))
            }
            Self::PadRows { to, .. } => format!("pad_rows {to}"),
            Self::PadColumns { to } => format!("pad_columns {to}"),
        }
    }
}

/// Rows in f32, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// Elements of a row.
    pub(crate) columns: usize,
    /// The elements; their number is a multiple of `columns`.
    pub(crate) elements: Vec<f32>,
}

/// The `wanted` rows of a tensor behind all `steps`, where `read` gives rows of the tensor itself.
///
/// # Errors
/// Those of `read`.
pub(crate) fn rows<E>(
    steps: &[Transform],
    wanted: &[u64],
    read: &mut impl FnMut(&[u64]) -> Result<Matrix, E>,
) -> Result<Matrix, E> {
    let Some((last, before)) = steps.split_last() else { return read(wanted) };
    match last {
        Transform::Add(Number(term)) => Ok(each(rows(before, wanted, read)?, |element| element + term)),
        Transform::Scale(Number(factor)) => Ok(each(rows(before, wanted, read)?, |element| element * factor)),
        Transform::PermuteRows(order) => {
            let length = order.len() as u64;
            let source = |row: &u64| {
                let within = row.checked_rem(length).and_then(|within| usize::try_from(within).ok());
                within.and_then(|within| order.get(within)).map_or(*row, |from| row - row % length + from)
            };
            rows(before, &wanted.iter().map(source).collect::<Vec<_>>(), read)
        }
        Transform::PadRows { from, .. } => {
            let present: Vec<u64> = wanted.iter().copied().filter(|row| row < from).collect();
            let Matrix { columns, elements } = rows(before, &present, read)?;
            let mut padded = Vec::with_capacity(wanted.len() * columns);
            let mut present = elements.chunks_exact(columns.max(1));
            for row in wanted {
                match (row < from).then(|| present.next()).flatten() {
                    Some(row) => padded.extend_from_slice(row),
                    None => padded.resize(padded.len() + columns, 0.0),
                }
            }
            Ok(Matrix { columns, elements: padded })
        }
        Transform::PadColumns { to } => {
            let Matrix { columns, elements } = rows(before, wanted, read)?;
            let to = usize::try_from(*to).map_or(columns, |to| to.max(columns));
            let mut padded = Vec::with_capacity(wanted.len() * to);
            for row in elements.chunks_exact(columns.max(1)) {
                padded.extend_from_slice(row);
                padded.resize(padded.len() + to - columns, 0.0);
            }
            Ok(Matrix { columns: to, elements: padded })
        }
    }
}

fn each(mut matrix: Matrix, change: impl Fn(f32) -> f32) -> Matrix {
    for element in &mut matrix.elements {
        *element = change(*element);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Row `r` of the source is `[10 r, 10 r + 1]`.
    fn transformed(steps: &[Transform], wanted: &[u64]) -> Vec<f32> {
        let mut read = |rows: &[u64]| {
            #[expect(clippy::cast_precision_loss, reason = "small numbers of a test")]
            let elements = rows.iter().flat_map(|row| [10.0 * *row as f32, 10.0 * *row as f32 + 1.0]).collect();
            Ok::<_, Infallible>(Matrix { columns: 2, elements })
        };
        let Ok(matrix) = rows(steps, wanted, &mut read);
        matrix.elements
    }

    #[test]
    fn without_steps_rows_are_as_they_are() {
        assert_eq!(transformed(&[], &[2, 1]), [20.0, 21.0, 10.0, 11.0]);
    }

    #[test]
    fn steps_follow_each_other() {
        assert_eq!(transformed(&[Transform::add(1.0), Transform::scale(2.0)], &[1]), [22.0, 24.0]);
        assert_eq!(transformed(&[Transform::scale(2.0), Transform::add(1.0)], &[1]), [21.0, 23.0]);
    }

    #[test]
    fn every_run_of_rows_is_permuted_alike_whatever_rows_are_asked_for() {
        let halves_to_pairs = Transform::PermuteRows([0, 2, 1, 3].into());
        let of = |wanted: &[u64]| transformed(std::slice::from_ref(&halves_to_pairs), wanted);
        assert_eq!(of(&[0, 1, 2, 3]), [0.0, 1.0, 20.0, 21.0, 10.0, 11.0, 30.0, 31.0]);
        assert_eq!(of(&[5]), [60.0, 61.0]);
    }

    #[test]
    fn padding_is_zeros_that_later_steps_see() {
        let pad_rows = Transform::PadRows { from: 2, to: 4 };
        assert_eq!(transformed(std::slice::from_ref(&pad_rows), &[1, 2]), [10.0, 11.0, 0.0, 0.0]);
        assert_eq!(transformed(std::slice::from_ref(&pad_rows), &[3]), [0.0, 0.0]);
        assert_eq!(transformed(&[pad_rows, Transform::add(1.0)], &[1, 2]), [11.0, 12.0, 1.0, 1.0]);
        assert_eq!(transformed(&[Transform::PadColumns { to: 3 }], &[1, 2]), [10.0, 11.0, 0.0, 20.0, 21.0, 0.0]);
    }
}
