//! A Gram matrix, factorized in the order in which its columns are assigned.

use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::prelude::ReborrowMut as _;
use faer::{Mat, MatMut, Par};
use rayon::prelude::*;

use super::cholesky;
use super::{CompensateError, expect};

/// The most that is added to the diagonal, as a part of its mean.
pub const MOST_DAMPING: f64 = 1.0;

/// How much more damping is tried where less did not help.
const MORE_DAMPING: f64 = 10.0;

/// Rows that are solved for at a time.
const SOLVE_ROWS: usize = 64;

/// The factor of a damped Gram matrix.
#[derive(Clone, Debug)]
pub struct Factor {
    /// Inputs, in the order of assignment.
    order: Vec<usize>,
    /// The mean square of each input.
    diagonal: Vec<f32>,
    /// The lower factor of the matrix with its inputs in reverse order: so the one that is needed is upper triangular.
    lower: Mat<f64>,
    damping: f64,
}

impl Factor {
    /// Factorizes `gram + damping * mean(diagonal) * I` with more damping where that is not positive definite.
    ///
    /// # Shapes
    /// `gram: [channels, channels]`, symmetric; only its lower triangle is read.
    ///
    /// # Errors
    /// The matrix is not square, not finite, or no Gram matrix.
    pub fn new(gram: &[f32], channels: usize, damping: f64) -> Result<Self, CompensateError> {
        if channels == 0 || gram.len() != channels.saturating_mul(channels) {
            return Err(CompensateError::Shape { channels, found: gram.len() });
        }
        let diagonal: Vec<f32> = (0..channels).map(|channel| gram[channel * channels + channel]).collect();
        let is_bad = |value: &&f32| !value.is_finite() || **value < 0.0;
        if let Some(value) = diagonal.iter().find(is_bad) {
            let channel = diagonal.iter().position(|value| is_bad(&value)).unwrap_or_default();
            return Err(CompensateError::NotFinite { channel, value: *value });
        }
        let mut order: Vec<usize> = (0..channels).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
        let mut tried = damping;
        loop {
            match lower_factor(gram, &diagonal, &order, tried) {
                Some(lower) => return Ok(Self { order, diagonal, lower, damping: tried }),
                None if tried >= MOST_DAMPING => {
                    return Err(CompensateError::Indefinite { channels, damping: tried });
                }
                None => tried = (tried * MORE_DAMPING).clamp(f64::from(f32::EPSILON), MOST_DAMPING),
            }
        }
    }

    /// Inputs.
    pub fn channels(&self) -> usize {
        self.order.len()
    }

    /// What was added to the diagonal, as a part of its mean.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// Inputs in the order in which their columns are assigned.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The mean square of each input: how much an error in its weights counts where no other makes up for it.
    pub fn importance(&self) -> &[f32] {
        &self.diagonal
    }

    /// How much the error of each input counts after others have made up for what they can: `R[k,k]²`.
    #[expect(clippy::cast_possible_truncation, reason = "an importance")]
    pub fn remaining_importance(&self) -> Vec<f32> {
        let mut importance = vec![0.0; self.channels()];
        for (place, channel) in self.order.iter().enumerate() {
            let at = self.channels() - 1 - place;
            importance[*channel] = self.lower[(at, at)].powi(2) as f32;
        }
        importance
    }

    /// The feedback of each column to those after it, both in the order of assignment: `F[j,k] = R[j,k] / R[k,k]` for
    /// `j < k`, else 0, row-major.
    #[expect(clippy::cast_possible_truncation, reason = "feedback is applied in f32")]
    pub(super) fn feedback(&self) -> Vec<f32> {
        let size = self.channels();
        let mut feedback = vec![0.0; size * size];
        feedback.par_chunks_exact_mut(size).enumerate().for_each(|(row, out)| {
            for (column, out) in out.iter_mut().enumerate().skip(row + 1) {
                let (i, j) = (size - 1 - row, size - 1 - column);
                *out = (self.lower[(i, j)] / self.lower[(j, j)]) as f32;
            }
        });
        feedback
    }

    /// Multiplies rows by the inverse of the damped matrix.
    ///
    /// # Shapes
    /// `rows: [any, channels]`.
    ///
    /// # Errors
    /// They are not whole rows.
    #[expect(clippy::cast_possible_truncation, reason = "back to the precision of the rows")]
    pub fn solve_rows(&self, rows: &mut [f32]) -> Result<(), CompensateError> {
        let size = self.channels();
        expect("elements of the last row", rows.len() % size, 0)?;
        rows.par_chunks_mut(SOLVE_ROWS * size).for_each(|rows| {
            let count = rows.len() / size;
            let mut wide = vec![0.0; rows.len()];
            for (row, wide) in rows.chunks_exact(size).zip(wide.chunks_exact_mut(size)) {
                for (wide, channel) in wide.iter_mut().zip(self.order.iter().rev()) {
                    *wide = f64::from(row[*channel]);
                }
            }
            let mut columns = MatMut::from_column_major_slice_mut(&mut wide, size, count);
            solve_lower_triangular_in_place(self.lower.as_ref(), columns.rb_mut(), Par::Seq);
            solve_upper_triangular_in_place(self.lower.as_ref().transpose(), columns.rb_mut(), Par::Seq);
            for (row, wide) in rows.chunks_exact_mut(size).zip(wide.chunks_exact(size)) {
                for (wide, channel) in wide.iter().zip(self.order.iter().rev()) {
                    row[*channel] = *wide as f32;
                }
            }
        });
        Ok(())
    }
}

/// The lower factor in the reverse of an order; none where the matrix is not positive definite.
fn lower_factor(gram: &[f32], diagonal: &[f32], order: &[usize], damping: f64) -> Option<Mat<f64>> {
    let size = order.len();
    #[expect(clippy::cast_precision_loss, reason = "channels are far below 2^52")]
    let mean = diagonal.iter().map(|value| f64::from(*value)).sum::<f64>() / size as f64;
    let mut lower = Mat::<f64>::zeros(size, size);
    for (j, column) in order.iter().rev().enumerate() {
        for (i, row) in order.iter().rev().enumerate().skip(j) {
            let (high, low) = (row.max(column), row.min(column));
            lower[(i, j)] = f64::from(gram[high * size + low]);
        }
        let own = f64::from(diagonal[*column]);
        // An input that is always zero is correlated with none; any number on its diagonal does.
        lower[(j, j)] = if own == 0.0 { 1.0 } else { own + damping * mean };
    }
    cholesky::factorize(lower.as_mut()).ok()?;
    (0..size).all(|at| lower[(at, at)].is_finite()).then_some(lower)
}
