//! What a provenance says became of a tensor, done once more: whole tensors, step by step.

use anec_schemas::provenance::Transform;

/// A tensor as rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    /// Elements of a row.
    pub(super) columns: usize,
    /// All rows.
    pub(super) elements: Vec<f32>,
}

/// The tensor behind a step; `None` where the step does not fit it.
pub(super) fn apply(matrix: Matrix, step: &Transform) -> Option<Matrix> {
    let Matrix { columns, mut elements } = matrix;
    let rows = elements.len().checked_div(columns)?;
    match step {
        Transform::Add(term) => elements.iter_mut().for_each(|element| *element += term),
        Transform::Scale(factor) => elements.iter_mut().for_each(|element| *element *= factor),
        Transform::PermuteRows(order) => {
            if order.is_empty() || !rows.is_multiple_of(order.len()) {
                return None;
            }
            let mut permuted = Vec::with_capacity(elements.len());
            for run in elements.chunks_exact(columns * order.len()) {
                for from in order {
                    let start = usize::try_from(*from).ok()?.checked_mul(columns)?;
                    permuted.extend_from_slice(run.get(start..start + columns)?);
                }
            }
            elements = permuted;
        }
        Transform::PadRows { from, to } => {
            let to = bounded(*to, rows)?;
            if *from != rows as u64 {
                return None;
            }
            elements.resize(to * columns, 0.0);
        }
        Transform::PadColumns(to) => {
            let to = bounded(*to, columns)?;
            let pad =
                |row: &[f32]| row.iter().copied().chain(std::iter::repeat_n(0.0, to - columns)).collect::<Vec<_>>();
            elements = elements.chunks_exact(columns).flat_map(pad).collect();
            return Some(Matrix { columns: to, elements });
        }
    }
    Some(Matrix { columns, elements })
}

/// A padded length. Real ones grow by less than the largest axis of the Neural Engine.
fn bounded(to: u64, from: usize) -> Option<usize> {
    const MOST: usize = 1 << 16;
    usize::try_from(to).ok().filter(|to| (from..=from.saturating_add(MOST)).contains(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[Transform]) -> Option<Matrix> {
        let tensor = Matrix { columns: 2, elements: vec![1.0, 2.0, 3.0, 4.0] };
        steps.iter().try_fold(tensor, apply)
    }

    #[test]
    fn steps_are_done_in_order() {
        let sum_first = after(&[Transform::Add(1.0), Transform::Scale(2.0)]).expect("fits");
        assert_eq!(sum_first.elements, [4.0, 6.0, 8.0, 10.0]);
        let swapped =
            after(&[Transform::PermuteRows(vec![1, 0]), Transform::PadRows { from: 2, to: 3 }]).expect("fits");
        assert_eq!(swapped.elements, [3.0, 4.0, 1.0, 2.0, 0.0, 0.0]);
        let wide = after(&[Transform::PadColumns(3), Transform::Add(1.0)]).expect("fits");
        assert_eq!((wide.columns, wide.elements), (3, vec![2.0, 3.0, 1.0, 4.0, 5.0, 1.0]));
    }

    #[test]
    fn steps_that_do_not_fit_are_refused() {
        for step in [
            Transform::PermuteRows(vec![]),
            Transform::PermuteRows(vec![0, 1, 2]),
            Transform::PermuteRows(vec![0, u64::MAX]),
            Transform::PadRows { from: 2, to: u64::MAX },
            Transform::PadRows { from: 3, to: 4 },
            Transform::PadColumns(1),
        ] {
            assert_eq!(after(std::slice::from_ref(&step)), None, "{step:?}");
        }
    }
}
