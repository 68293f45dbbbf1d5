//! Products of f32 matrices on all threads, with the same bits on any number of them.
//!
//! Work is cut into pieces of fixed size; each is one product on one thread. All matrices are row-major.

use anec_quantize::product::{Accum, MatMut, MatRef, matmul};
use rayon::prelude::*;

/// Rows of a product that one thread makes at a time.
const ROWS: usize = 256;

/// As many where there are few rows.
const FEW_ROWS: usize = 64;

/// Outputs of a product with few tokens that one thread makes at a time.
const FEW_OUTPUTS: usize = 192;

/// Rows and columns of a piece of a Gram matrix.
const TILE: usize = 192;

/// `x wᵀ + bias`: what a projection makes of tokens.
///
/// # Shapes
/// `x: [tokens, inputs]`, `w: [outputs, inputs]`, `bias: [outputs]`; `[tokens, outputs]`.
pub(crate) fn project(x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let outputs = w.len() / inputs;
    let mut result = vec![0.0; x.len() / inputs * outputs];
    let w = MatRef::from_row_major_slice(w, outputs, inputs);
    result.par_chunks_mut(ROWS * outputs).zip(x.par_chunks(ROWS * inputs)).for_each(|(result, x)| {
        let rows = x.len() / inputs;
        if let Some(bias) = bias {
            result.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
        }
        let x = MatRef::from_row_major_slice(x, rows, inputs);
        let result = MatMut::from_row_major_slice_mut(result, rows, outputs);
        matmul(result, Accum::Add, x, w.transpose(), 1.0);
    });
    result
}

/// As [`project`], for so few tokens that outputs are shared out instead.
pub(crate) fn project_few(x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let (outputs, tokens) = (w.len() / inputs, x.len() / inputs);
    let x = MatRef::from_row_major_slice(x, tokens, inputs);
    let mut turned = vec![0.0; outputs * tokens];
    turned.par_chunks_mut(FEW_OUTPUTS * tokens).zip(w.par_chunks(FEW_OUTPUTS * inputs)).for_each(|(turned, w)| {
        let rows = w.len() / inputs;
        let turned = MatMut::from_row_major_slice_mut(turned, rows, tokens);
        matmul(turned, Accum::Replace, MatRef::from_row_major_slice(w, rows, inputs), x.transpose(), 1.0);
    });
    let mut result = vec![0.0; outputs * tokens];
    for (token, row) in result.chunks_exact_mut(outputs).enumerate() {
        for (output, value) in row.iter_mut().enumerate() {
            *value = turned[output * tokens + token] + bias.map_or(0.0, |bias| bias[output]);
        }
    }
    result
}

/// `a b`.
///
/// # Shapes
/// `a: [rows, inner]`, `b: [inner, columns]`; `[rows, columns]`.
pub(crate) fn multiply(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    multiply_by(ROWS, a, b, inner)
}

/// As [`multiply`], of matrices with few rows, which small pieces share out among more threads.
pub(crate) fn multiply_few(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    multiply_by(FEW_ROWS, a, b, inner)
}

fn multiply_by(piece: usize, a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let columns = b.len() / inner;
    let mut result = vec![0.0; a.len() / inner * columns];
    let b = MatRef::from_row_major_slice(b, inner, columns);
    add_pieces(piece, &mut result, (a, inner), b, Accum::Replace);
    result
}

/// `result += a bᵀ`, of matrices with few rows.
///
/// # Shapes
/// `a: [rows, inner]`, `b: [columns, inner]`, `result: [rows, columns]`.
pub(crate) fn add_outer_few(result: &mut [f32], a: &[f32], b: &[f32], inner: usize) {
    let b = MatRef::from_row_major_slice(b, b.len() / inner, inner);
    add_pieces(FEW_ROWS, result, (a, inner), b.transpose(), Accum::Add);
}

/// Puts or adds `a b` into `result`, so many rows on a thread.
fn add_pieces(piece: usize, result: &mut [f32], (a, inner): (&[f32], usize), b: MatRef<'_, f32>, accumulate: Accum) {
    let columns = b.ncols();
    result.par_chunks_mut(piece * columns).zip(a.par_chunks(piece * inner)).for_each(|(result, a)| {
        let rows = a.len() / inner;
        let a = MatRef::from_row_major_slice(a, rows, inner);
        matmul(MatMut::from_row_major_slice_mut(result, rows, columns), accumulate, a, b, 1.0);
    });
}

/// `aᵀ b / tokens`: what channels of `a` have in common with channels of `b`.
///
/// # Shapes
/// `a: [tokens, a_channels]`, `b: [tokens, b_channels]`; `[a_channels, b_channels]`.
pub(crate) fn cross(a: &[f32], b: &[f32], [a_channels, b_channels]: [usize; 2]) -> Vec<f32> {
    let mut result = vec![0.0; a_channels * b_channels];
    let tokens = a.len() / a_channels;
    let a = MatRef::from_row_major_slice(a, tokens, a_channels);
    let b = MatRef::from_row_major_slice(b, tokens, b_channels);
    result.par_chunks_mut(TILE * b_channels).enumerate().for_each(|(tile, result)| {
        let rows = result.len() / b_channels;
        let a = a.subcols(tile * TILE, rows);
        let result = MatMut::from_row_major_slice_mut(result, rows, b_channels);
        matmul(result, Accum::Replace, a.transpose(), b, reciprocal(tokens));
    });
    result
}

/// `xᵀ y / tokens`, whole: the Gram matrix of the inputs `x` of a projection, where `y` is `x` with each token times what it
/// counts, or `x` itself.
///
/// # Shapes
/// `x` and `y`: `[tokens, channels]`; `[channels, channels]`.
pub(crate) fn gram(x: &[f32], y: &[f32], channels: usize) -> Vec<f32> {
    let tokens = x.len() / channels;
    let [x, y] = [x, y].map(|values| MatRef::from_row_major_slice(values, tokens, channels));
    let mut result = vec![0.0; channels * channels];
    result.par_chunks_mut(TILE * channels).enumerate().for_each(|(tile, result)| {
        let rows = result.len() / channels;
        let columns = tile * TILE + rows;
        let result = MatMut::from_row_major_slice_mut(result, rows, channels).subcols_mut(0, columns);
        let x = x.subcols(0, columns);
        let own = y.subcols(tile * TILE, rows);
        matmul(result, Accum::Replace, own.transpose(), x, reciprocal(tokens));
    });
    for row in 0..channels {
        for column in row + 1..channels {
            result[row * channels + column] = result[column * channels + row];
        }
    }
    result
}

#[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^24")]
fn reciprocal(tokens: usize) -> f32 {
    1.0 / tokens as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn pattern(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * factor) % 7) as f32 - 3.0).collect()
    }

    #[test]
    fn products_of_small_integers_are_exact() {
        let (tokens, inputs, outputs) = (300, 200, 5);
        let (x, w) = (pattern(tokens * inputs, 5), pattern(outputs * inputs, 3));
        let y = project(&x, &w, Some(&[1.0; 5]), inputs);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for token in 0..tokens {
            for output in 0..outputs {
                let expected =
                    dot(&x[token * inputs..(token + 1) * inputs], &w[output * inputs..(output + 1) * inputs]);
                assert_eq!(y[token * outputs + output], expected + 1.0);
            }
        }
        assert_eq!(project_few(&x, &w, Some(&[1.0; 5]), inputs), y);
        let found = gram(&x, &x, inputs);
        let both = cross(&x, &x, [inputs, inputs]);
        for (i, j) in [(0, 0), (199, 3), (3, 199), (150, 198)] {
            let sum: f32 = (0..tokens).map(|token| x[token * inputs + i] * x[token * inputs + j]).sum();
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let expected = sum / tokens as f32;
            assert!((found[i * inputs + j] - expected).abs() < 1e-4 && (both[i * inputs + j] - expected).abs() < 1e-4);
        }
    }
}
