//! Products of f32 matrices on the calling thread.
//!
//! One function that is not generic: so the kernels behind it are compiled once, here, and not in every crate that uses it.

use faer::linalg::matmul;
pub use faer::{Accum, MatMut, MatRef};

use faer::Par;

/// `product = factor * a b`, or adds that to what is there.
///
/// # Shapes
/// `a: [rows, inner]`, `b: [inner, columns]`, `product: [rows, columns]`, each with any strides.
///
/// # Panics
/// The shapes do not fit each other.
pub fn matmul(product: MatMut<'_, f32>, accumulate: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>, factor: f32) {
    matmul::matmul(product, accumulate, a, b, factor, Par::Seq);
}
