//! Products of f32 matrices on all threads, with the same bits on any number of them.
//!
//! Work is cut into pieces of fixed size; each is one product on one thread. All matrices are row-major.

use std::ops::Range;

use anec_quantize::product::{Accum, MatMut, MatRef, matmul};
use rayon::prelude::*;

/// Rows of a product that one thread makes at a time.
const ROWS: usize = 256;

/// As many where there are few rows.
const FEW_ROWS: usize = 64;

/// Rows of a transpose that one thread makes at a time.
const TURNED: usize = 16;

/// Channels of a piece of a sum over tokens, and of one with few channels: so that all threads have pieces.
const TILE: usize = 192;
const SMALL_TILE: usize = 96;

/// Channels that are few.
const FEW_CHANNELS: usize = 1024;

/// Tokens that are summed over at a time, for so many columns of the sum: what is read and added to stays in the caches.
const TOKENS: usize = 128;
const COLUMNS: usize = 1536;

/// `x wᵀ + bias`: what a projection makes of tokens.
///
/// # Shapes
/// `x: [tokens, inputs]`, `w: [outputs, inputs]`, `bias: [outputs]`; `[tokens, outputs]`.
pub(crate) fn project(x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let outputs = w.len() / inputs;
    let mut result = vec![0.0; x.len() / inputs * outputs];
    result.par_chunks_mut(ROWS * outputs).zip(x.par_chunks(ROWS * inputs)).for_each(|(result, x)| {
        project_here(result, x, w, bias, inputs);
    });
    result
}

/// As [`project`], into `result`, on the calling thread.
pub(crate) fn project_here(result: &mut [f32], x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize) {
    let (tokens, outputs) = (x.len() / inputs, w.len() / inputs);
    let accumulate = if let Some(bias) = bias {
        result.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
        Accum::Add
    } else {
        Accum::Replace
    };
    let x = MatRef::from_row_major_slice(x, tokens, inputs);
    let w = MatRef::from_row_major_slice(w, outputs, inputs);
    matmul(MatMut::from_row_major_slice_mut(result, tokens, outputs), accumulate, x, w.transpose(), 1.0);
}

/// Hands out tokens, in pieces of [`ROWS`], to the threads: `result: [tokens, outputs]` with `x: [tokens, inputs]`, and what each
/// thread keeps for itself.
pub(crate) fn in_pieces(
    (result, outputs): (&mut [f32], usize),
    (x, inputs): (&[f32], usize),
    work: impl Fn(&mut Vec<f32>, &mut [f32], &[f32]) + Sync + Send,
) {
    let pieces = result.par_chunks_mut(ROWS * outputs).zip(x.par_chunks(ROWS * inputs));
    pieces.for_each_init(Vec::new, |own, (result, x)| work(own, result, x));
}

/// The transpose of `a: [rows, columns]`.
pub(crate) fn transposed(a: &[f32], columns: usize) -> Vec<f32> {
    let rows = a.len() / columns;
    let mut result = vec![0.0; a.len()];
    result.par_chunks_mut(TURNED * rows).enumerate().for_each(|(piece, result)| {
        let first = piece * TURNED;
        for (at, row) in a.chunks_exact(columns).enumerate() {
            for (result, value) in result.chunks_exact_mut(rows).zip(&row[first..]) {
                result[at] = *value;
            }
        }
    });
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

/// `Σ_t counts_t a_t b_tᵀ / tokens`: what channels of `a` have in common with channels of `b`. All tokens count one where there are
/// no counts. `a` writes a range of its elements, of one token.
///
/// # Shapes
/// `a: [tokens, a_channels]`, `b: [tokens, b_channels]`, `counts: [tokens]`; `[a_channels, b_channels]`.
pub(crate) fn cross(
    a: impl Fn(Range<usize>, &mut [f32]) + Sync,
    b: &[f32],
    counts: Option<&[f32]>,
    [a_channels, b_channels]: [usize; 2],
) -> Vec<f32> {
    let sum = TokenSum { a, a_channels, b: MatRef::from_row_major_slice(b, b.len() / b_channels, b_channels), counts };
    let mut result = vec![0.0; a_channels * b_channels];
    let tile = tile(a_channels);
    result.par_chunks_mut(tile * b_channels).with_max_len(1).enumerate().for_each(|(at, result)| {
        let rows = result.len() / b_channels;
        sum.rows(at * tile, b_channels, MatMut::from_row_major_slice_mut(result, rows, b_channels));
    });
    result
}

/// `Σ_t counts_t x_t x_tᵀ / tokens`, whole: the Gram matrix of the inputs `x` of a projection, as [`cross`].
///
/// # Shapes
/// `x: [tokens, channels]`, `counts: [tokens]`; `[channels, channels]`.
pub(crate) fn gram(x: &[f32], counts: Option<&[f32]>, channels: usize) -> Vec<f32> {
    let a = |elements, out: &mut [f32]| copy(x, elements, out);
    let b = MatRef::from_row_major_slice(x, x.len() / channels, channels);
    let sum = TokenSum { a, a_channels: channels, b, counts };
    let mut result = vec![0.0; channels * channels];
    let tile = tile(channels);
    // The largest piece first.
    result.par_chunks_mut(tile * channels).enumerate().rev().with_max_len(1).for_each(|(at, result)| {
        let rows = result.len() / channels;
        let columns = at * tile + rows;
        let result = MatMut::from_row_major_slice_mut(result, rows, channels).subcols_mut(0, columns);
        sum.rows(at * tile, columns, result);
    });
    for row in 0..channels {
        for column in row + 1..channels {
            result[row * channels + column] = result[column * channels + row];
        }
    }
    result
}

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Copies a range of elements: what [`cross`] asks for of a matrix as it is.
pub(crate) fn copy(x: &[f32], elements: Range<usize>, out: &mut [f32]) {
    out.copy_from_slice(&x[elements]);
}

fn tile(channels: usize) -> usize {
    if channels < FEW_CHANNELS { SMALL_TILE } else { TILE }
}

/// A sum over tokens of outer products.
struct TokenSum<'a, A> {
    a: A,
    a_channels: usize,
    b: MatRef<'a, f32>,
    counts: Option<&'a [f32]>,
}

impl<A: Fn(Range<usize>, &mut [f32])> TokenSum<'_, A> {
    /// Some rows of the sum, from `first` on, and as many of its columns as `result` has.
    fn rows(&self, first: usize, columns: usize, mut result: MatMut<'_, f32>) {
        let (rows, tokens) = (result.nrows(), self.b.nrows());
        let mut block = vec![0.0; TOKENS * rows];
        for column in (0..columns).step_by(COLUMNS) {
            let width = COLUMNS.min(columns - column);
            let mut result = result.as_mut().subcols_mut(column, width);
            for start in (0..tokens).step_by(TOKENS) {
                let count = TOKENS.min(tokens - start);
                let block = &mut block[..count * rows];
                self.fill(start, first, rows, block);
                let accumulate = if start == 0 { Accum::Replace } else { Accum::Add };
                let a = MatRef::from_row_major_slice(&*block, count, rows);
                let b = self.b.subrows(start, count).subcols(column, width);
                matmul(result.as_mut(), accumulate, a.transpose(), b, reciprocal(tokens));
            }
        }
    }

    /// Some channels of some tokens of `a`, as they count: `block: [tokens, rows]`.
    fn fill(&self, start: usize, first: usize, rows: usize, block: &mut [f32]) {
        for (token, out) in (start..).zip(block.chunks_exact_mut(rows)) {
            let at = token * self.a_channels + first;
            (self.a)(at..at + rows, out);
            if let Some(counts) = self.counts {
                scale(out, counts[token]);
            }
        }
    }
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
        let turned = transposed(&y, outputs);
        assert!((0..y.len()).all(|at| turned[at % outputs * tokens + at / outputs] == y[at]));
        let counts: Vec<f32> = pattern(tokens, 4);
        for counts in [None, Some(counts.as_slice())] {
            let found = gram(&x, counts, inputs);
            let both = cross(|elements, out| copy(&x, elements, out), &y, counts, [inputs, outputs]);
            let mean = |of: &dyn Fn(usize) -> f32| {
                let sum: f32 = (0..tokens).map(|token| of(token) * counts.map_or(1.0, |counts| counts[token])).sum();
                sum * reciprocal(tokens)
            };
            for (i, j) in [(0, 0), (199, 3), (3, 199), (150, 198)] {
                let expected = mean(&|token| x[token * inputs + i] * x[token * inputs + j]);
                assert!((found[i * inputs + j] - expected).abs() < 1e-4);
                let expected = mean(&|token| x[token * inputs + i] * y[token * outputs + j % outputs]);
                assert!((both[i * outputs + j % outputs] - expected).abs() < 1e-2);
            }
        }
    }
}
