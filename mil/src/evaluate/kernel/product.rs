//! Products of matrices: of activations, and of activations with weights that are expanded tile by tile.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

use super::dot::dot;
use crate::evaluate::error::EvaluateError;
use crate::evaluate::numerics::{Accumulator, Numerics, SATURATION};
use crate::evaluate::tensor::Tensor;
use crate::ops::decl::InferError;

/// A matrix within a slice: element `(row, column)` is at `row * strides[0] + column * strides[1]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements.
    pub elements: &'a [f32],
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Distances between rows and between columns.
    pub strides: [usize; 2],
}

/// Floats of a weight that are expanded at a time where few vectors are multiplied: what stays in a core's first cache.
const TILE_FLOATS: usize = 1 << 12;

/// Rows and columns of a weight that are expanded at a time for a product with many vectors: what stays in a core's second
/// cache, beside as many rows of the vectors. The rows are a multiple of what the library's kernels take at once.
const BLOCK: [usize; 2] = [48, 1024];

/// Fewer vectors than this are multiplied one by one.
const MIN_GEMM_COLUMNS: usize = 4;

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    pub fn row_major(elements: &'a [f32], shape: [usize; 2]) -> Self {
        Self { elements, shape, strides: [shape[1], 1] }
    }

    /// Rows and columns swapped.
    #[must_use]
    pub fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.strides);
        Self { elements: self.elements, shape: [columns, rows], strides: [column, row] }
    }

    /// `count` rows from `first` on.
    fn rows(self, first: usize, count: usize) -> Self {
        let elements = self.elements.get(first * self.strides[0]..).unwrap_or_default();
        Self { elements, shape: [count, self.shape[1]], strides: self.strides }
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.elements.get(row * self.strides[0] + column * self.strides[1]).copied().unwrap_or(f32::NAN)
    }

    fn view(&self) -> Result<NdTensorView<'a, f32, 2>, EvaluateError> {
        NdTensorView::from_data_with_strides(self.shape, self.elements, self.strides)
            .map_err(|error| InferError::Mismatch(format!("a matrix does not fit its elements: {error:?}")).into())
    }
}

/// `output = a · b`, row-major.
///
/// # Errors
/// The shapes do not fit each other or the slices.
pub fn multiply(a: Matrix<'_>, b: Matrix<'_>, output: &mut [f32], numerics: Numerics) -> Result<(), EvaluateError> {
    let ([rows, inner], [b_rows, columns]) = (a.shape, b.shape);
    if inner != b_rows || output.len() != rows * columns {
        let found = format!("matrices of shapes {:?} and {:?} cannot be multiplied", a.shape, b.shape);
        return Err(InferError::Mismatch(found).into());
    }
    if output.is_empty() || inner == 0 {
        output.fill(0.0);
        return Ok(());
    }
    if numerics == Numerics::Fp16(Accumulator::Saturating) {
        for (index, output) in output.iter_mut().enumerate() {
            let (row, column) = (index / columns, index % columns);
            *output = saturating((0..inner).map(|k| (a.at(row, k), b.at(k, column))), 0.0);
        }
        return Ok(());
    }
    GemmExecutor::<f32>::new()
        .gemm(output, GemmInputA::Unpacked(a.view()?), GemmInputB::Unpacked(b.view()?), GemmOptions::default())
        .map_err(|error| InferError::Mismatch(format!("a product failed: {error:?}")).into())
}

/// The product `weight · x + bias` of a weight that is expanded tile by tile.
///
/// # Shapes
/// The weight has `rows * inner` elements, row-major, from element `start` on; `x: [inner, columns]`; `bias: [rows]` or
/// empty.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// The tensor that holds the weight.
    pub weight: &'a Tensor,
    /// Its first element that is used.
    pub start: usize,
    /// The vectors, one a column.
    pub x: Matrix<'a>,
    /// What is added to each row, or nothing.
    pub bias: &'a [f32],
    /// How sums are accumulated.
    pub numerics: Numerics,
}

impl Projection<'_> {
    /// Writes the product, `[rows, columns]`, row-major.
    ///
    /// # Errors
    /// The shapes do not fit each other.
    pub fn write(&self, output: &mut [f32]) -> Result<(), EvaluateError> {
        let [inner, columns] = self.x.shape;
        if output.is_empty() {
            return Ok(());
        }
        let rows = output.len() / columns.max(1);
        let count = self.weight.count();
        let fits = rows * columns == output.len()
            && self.start.checked_add(rows * inner).is_some_and(|end| end <= count)
            && (self.bias.is_empty() || self.bias.len() == rows);
        if !fits {
            let found = format!("a weight of {count} elements and {} outputs for x {:?}", output.len(), self.x.shape);
            return Err(InferError::Mismatch(found).into());
        }
        if inner == 0 {
            for (row, output) in output.chunks_exact_mut(columns).enumerate() {
                output.fill(self.bias.get(row).copied().unwrap_or(0.0));
            }
            return Ok(());
        }
        if columns < MIN_GEMM_COLUMNS || self.numerics == Numerics::Fp16(Accumulator::Saturating) {
            self.write_vectors(output)
        } else {
            self.write_blocks(output)
        }
    }

    /// Few columns: tiles of rows by dot products.
    fn write_vectors(&self, output: &mut [f32]) -> Result<(), EvaluateError> {
        let [inner, columns] = self.x.shape;
        let vectors: Vec<f32> = (0..columns).flat_map(|column| (0..inner).map(move |k| self.x.at(k, column))).collect();
        let saturates = self.numerics == Numerics::Fp16(Accumulator::Saturating);
        let rows = (TILE_FLOATS / inner).clamp(1, 64);
        self.for_each_tile(rows, output, |tile, first, output| {
            tile.resize(output.len() / columns * inner, 0.0);
            self.weight.expand(self.start + first * inner, tile)?;
            let bias = self.bias.get(first..).unwrap_or_default();
            Arch::new().dispatch(TileProduct { tile, vectors: &vectors, inner, bias, saturates, output });
            Ok(())
        })
    }

    /// Many columns: blocks of rows and columns by the library for such products.
    fn write_blocks(&self, output: &mut [f32]) -> Result<(), EvaluateError> {
        let [inner, columns] = self.x.shape;
        let [block_rows, block_inner] = BLOCK;
        let executor = GemmExecutor::<f32>::new();
        let mut slices = Vec::with_capacity(inner.div_ceil(block_inner));
        for from in (0..inner).step_by(block_inner) {
            let length = block_inner.min(inner - from);
            slices.push((from, length, executor.prepack_b(self.x.rows(from, length).view()?)));
        }
        self.for_each_tile(block_rows, output, |tile, first, output| {
            let rows = output.len() / columns;
            let bias = self.bias.get(first..first + rows).map(BiasVector::Column);
            for (from, length, slice) in &slices {
                tile.resize(rows * length, 0.0);
                for (row, floats) in tile.chunks_exact_mut(*length).enumerate() {
                    self.weight.expand(self.start + (first + row) * inner + from, floats)?;
                }
                let block = Matrix::row_major(tile, [rows, *length]);
                let options = match from {
                    0 => GemmOptions { bias, ..GemmOptions::default() },
                    _ => GemmOptions { beta: 1.0, ..GemmOptions::default() },
                };
                executor
                    .gemm(output, GemmInputA::Unpacked(block.view()?), GemmInputB::Packed(slice), options)
                    .map_err(|error| InferError::Mismatch(format!("a product failed: {error:?}")))?;
            }
            Ok(())
        })
    }

    /// Calls `write(tile, first_row, output)` for the outputs of each `rows` rows, on all cores. A core has one vector for
    /// the tiles that it expands.
    fn for_each_tile(
        &self,
        rows: usize,
        output: &mut [f32],
        write: impl Fn(&mut Vec<f32>, usize, &mut [f32]) -> Result<(), EvaluateError> + Sync,
    ) -> Result<(), EvaluateError> {
        let [_, columns] = self.x.shape;
        let tiles = output.par_chunks_mut(rows * columns).enumerate();
        let failed = tiles
            .map_init(Vec::new, |tile, (index, output)| write(tile, index * rows, output))
            .find_any(Result::is_err);
        failed.unwrap_or(Ok(()))
    }
}

/// The product of a tile of weights, `[rows, inner]`, with vectors of `inner` elements; `output: [rows, vectors]`.
struct TileProduct<'a> {
    tile: &'a [f32],
    vectors: &'a [f32],
    inner: usize,
    /// Of the rows of the tile; rows that it does not have get none.
    bias: &'a [f32],
    saturates: bool,
    output: &'a mut [f32],
}

impl WithSimd for TileProduct<'_> {
    type Output = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of `simd`")]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = self.vectors.len() / self.inner;
        let rows = self.tile.chunks_exact(self.inner).zip(self.output.chunks_exact_mut(columns));
        for (row, (weights, output)) in rows.enumerate() {
            let bias = self.bias.get(row).copied().unwrap_or(0.0);
            for (output, vector) in output.iter_mut().zip(self.vectors.chunks_exact(self.inner)) {
                *output = if self.saturates {
                    saturating(weights.iter().copied().zip(vector.iter().copied()), bias)
                } else {
                    dot(simd, weights, vector) + bias
                };
            }
        }
    }
}

/// A sum of products that becomes infinite, and stays so, where a partial sum saturates.
fn saturating(pairs: impl Iterator<Item = (f32, f32)>, bias: f32) -> f32 {
    let mut sum = bias;
    for (a, b) in pairs {
        sum += a * b;
        if sum.abs() >= SATURATION {
            return f32::INFINITY.copysign(sum);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;

    /// Small integers, so that every order of summation is exact.
    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn pattern(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * factor) % 7) as f32 - 3.0).collect()
    }

    fn expected(rows: usize, inner: usize, columns: usize, bias: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (a, b) = (pattern(rows * inner, 5), pattern(inner * columns, 3));
        let mut output = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let products = (0..inner).map(|k| a[row * inner + k] * b[k * columns + column]);
                output.push(products.sum::<f32>() + bias.get(row).copied().unwrap_or(0.0));
            }
        }
        (a, b, output)
    }

    #[test]
    fn a_weight_times_any_number_of_columns_plus_bias_is_exact() {
        for (rows, inner, columns) in [(1, 1, 1), (70, 33, 1), (5, 1000, 2), (130, 40, 4), (3, 7, 64), (50, 1030, 5)] {
            let bias = pattern(rows, 2);
            let (a, b, output) = expected(rows, inner, columns, &bias);
            let weight = Tensor::floats(DataType::Float32, &[rows, inner], a).expect("fits");
            for numerics in [Numerics::F32, Numerics::Fp16(Accumulator::Saturating)] {
                let mut found = vec![0.0; rows * columns];
                let x = Matrix::row_major(&b, [inner, columns]);
                let product = Projection { weight: &weight, start: 0, x, bias: &bias, numerics };
                product.write(&mut found).expect("shapes fit");
                assert_eq!(found, output);
            }
        }
    }

    #[test]
    fn transposed_operands_are_read_in_place() {
        let (a, b, output) = expected(6, 5, 4, &[]);
        let mut turned = vec![0.0; 20];
        for row in 0..5 {
            for column in 0..4 {
                turned[column * 5 + row] = b[row * 4 + column];
            }
        }
        let mut found = vec![0.0; 24];
        let b = Matrix::row_major(&turned, [4, 5]).transposed();
        multiply(Matrix::row_major(&a, [6, 5]), b, &mut found, Numerics::F32).expect("shapes fit");
        assert_eq!(found, output);
    }

    #[test]
    fn a_saturated_sum_stays_infinite() {
        let (a, b) = ([200.0, 200.0, 1.0], [200.0, -200.0, 1.0]);
        let mut found = [0.0];
        let product = |numerics, found: &mut [f32]| {
            multiply(Matrix::row_major(&a, [1, 3]), Matrix::row_major(&b, [3, 1]), found, numerics)
        };
        product(Numerics::Fp16(Accumulator::Saturating), &mut found).expect("shapes fit");
        assert_eq!(found[0].to_bits(), f32::INFINITY.to_bits());
        product(Numerics::Fp16(Accumulator::F32), &mut found).expect("shapes fit");
        assert_eq!(found[0].to_bits(), 1.0_f32.to_bits());
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let a = Matrix::row_major(&[1.0, 2.0], [1, 2]);
        assert!(multiply(a, a, &mut [0.0], Numerics::F32).is_err());
        let weight = Tensor::floats(DataType::Float32, &[1], vec![1.0]).expect("fits");
        let x = a.transposed();
        let product = Projection { weight: &weight, start: 0, x, bias: &[], numerics: Numerics::F32 };
        assert!(product.write(&mut [0.0]).is_err());
    }
}
