//! The Cholesky factorization in blocks, on all threads, with the same result on any number of them.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltParams, LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::prelude::{IntoConst as _, ReborrowMut as _};
use faer::{Accum, Auto, MatMut, MatRef, Par, Spec};
use rayon::prelude::*;

/// Columns that are factorized at a time. Part of the result's last bits.
const BLOCK: usize = 192;

/// A pivot is not positive.
#[derive(Debug)]
pub(super) struct Indefinite;

/// Replaces the lower triangle of a symmetric matrix by its Cholesky factor. What is above the diagonal is not read, and
/// undefined afterwards.
pub(super) fn factorize(mut matrix: MatMut<'_, f64>) -> Result<(), Indefinite> {
    let size = matrix.nrows();
    let params: Spec<LltParams, f64> = Spec::new(<LltParams as Auto<f64>>::auto());
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(BLOCK, Par::Seq, params));
    for start in (0..size).step_by(BLOCK) {
        let end = (start + BLOCK).min(size);
        let (_, rest) = matrix.rb_mut().split_at_row_mut(start);
        let (_, rest) = rest.split_at_col_mut(start);
        let (panel, trailing) = rest.split_at_col_mut(end - start);
        let (mut diagonal, mut below) = panel.split_at_row_mut(end - start);
        let regularization = LltRegularization::default();
        let stack = MemStack::new(&mut memory);
        cholesky_in_place(diagonal.rb_mut(), regularization, Par::Seq, stack, params).map_err(|_| Indefinite)?;
        let diagonal = diagonal.into_const();
        row_blocks(below.rb_mut()).into_par_iter().for_each(|rows| {
            solve_lower_triangular_in_place(diagonal, rows.transpose_mut(), Par::Seq);
        });
        let below = below.into_const();
        let (_, trailing) = trailing.split_at_row_mut(end - start);
        column_blocks(trailing).into_par_iter().enumerate().for_each(|(index, columns)| {
            update(columns, below, index * BLOCK);
        });
    }
    Ok(())
}

/// Subtracts the products of a panel's rows from some columns of what is still to be factorized, from the diagonal down.
fn update(columns: MatMut<'_, f64>, panel: MatRef<'_, f64>, first: usize) {
    let (_, lower) = columns.split_at_row_mut(first);
    let count = lower.ncols();
    let rows = panel.subrows(first, panel.nrows() - first);
    matmul(lower, Accum::Add, rows, panel.subrows(first, count).transpose(), -1.0, Par::Seq);
}

/// Blocks of rows, top down.
pub(super) fn row_blocks(mut matrix: MatMut<'_, f64>) -> Vec<MatMut<'_, f64>> {
    let mut blocks = Vec::with_capacity(matrix.nrows().div_ceil(BLOCK));
    while matrix.nrows() > BLOCK {
        let (block, rest) = matrix.split_at_row_mut(BLOCK);
        blocks.push(block);
        matrix = rest;
    }
    blocks.push(matrix);
    blocks
}

fn column_blocks(mut matrix: MatMut<'_, f64>) -> Vec<MatMut<'_, f64>> {
    let mut blocks = Vec::with_capacity(matrix.ncols().div_ceil(BLOCK));
    while matrix.ncols() > BLOCK {
        let (block, rest) = matrix.split_at_col_mut(BLOCK);
        blocks.push(block);
        matrix = rest;
    }
    blocks.push(matrix);
    blocks
}
