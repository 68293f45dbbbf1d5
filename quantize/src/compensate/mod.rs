//! Palettes that fit the inputs of a layer: assignment that makes up for its own errors.
//!
//! A projection is used as `y = W x`. What counts is not how far a stored weight is from the weight, but how far the
//! result is: `tr((W - Q) H (W - Q)ᵀ)` with the Gram matrix `H = mean(x xᵀ)` of the inputs. Columns are assigned one after
//! the other, and each takes over what the columns before it did wrong, as far as their inputs are correlated.
//!
//! # Mathematics
//!
//! With `H = R Rᵀ`, `R` upper triangular, the error of a row is `Σ_k R[k,k]² (e_k + Σ_{j<k} F[j,k] e_j)²`, where `e = w - q`
//! and `F[j,k] = R[j,k] / R[k,k]`. So the best entry for column `k`, given those before it, is the nearest to
//! `w_k + Σ_{j<k} F[j,k] e_j`. This is GPTQ (Frantar et al., "GPTQ: accurate post-training quantization for generative
//! pre-trained transformers", 2023) without the inverse of `H`: that its updates are this feedback is shown by Chee et al.,
//! "QuIP: 2-bit quantization of large language models with guarantees", 2023, theorem 6. Here the nearest entry is that of
//! the palette of the row's group instead of a point on a grid. Columns go by descending `H[k,k]`, so that errors of large
//! inputs, which cost most, have the most columns left to make up for them.
//!
//! The targets of [`Factor::solve_rows`] answer what earlier layers did wrong: where the inputs of the checkpoint are
//! `x̂` and those of the quantized model `x`, the least squares of `W x̂ - W' x` are at `W' = W + W mean((x̂ - x) xᵀ) H⁻¹`
//! (Li et al., "GPTAQ: efficient finetuning-free quantization for asymmetric calibration", 2025).
//!
//! # Numbers
//!
//! The factorization and solutions are in f64: inputs of real models span many orders of magnitude, and one token may
//! weigh more than all others together. The feedback is applied in f32. `damping` times the mean of the diagonal is added
//! to it, and ten times as much where the matrix still is not positive definite, up to [`MOST_DAMPING`]; [`Factor`] says
//! how much it took. Inputs that are always zero get no feedback, and their weights the nearest entry.
//!
//! Work is split over the threads of the current rayon pool, in pieces whose size does not depend on their number: the
//! results have the same bits on any number of threads. Sums of products have the order that the processor's vectors
//! give them, so another kind of processor may round differently.

mod assign;
mod cholesky;
mod factor;
mod palettes;
mod refit;
#[cfg(test)]
mod tests;

pub use assign::{Compensated, compensate};
pub use factor::{Factor, MOST_DAMPING};
pub use palettes::{GroupPalettes, Importance, palettize_groups};
pub use refit::refit;

/// A Gram matrix or weights that do not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompensateError {
    /// The matrix is not square.
    #[error("a Gram matrix of {found} elements for {channels} inputs, expected {channels} squared")]
    Shape {
        /// Inputs.
        channels: usize,
        /// Elements.
        found: usize,
    },
    /// An input is not a number, or its square is infinite.
    #[error("the mean square of input {channel} is {value}, expected a finite number that is not negative")]
    NotFinite {
        /// The input.
        channel: usize,
        /// Its mean square.
        value: f32,
    },
    /// The matrix stays indefinite with as much damping as is allowed: it is no Gram matrix.
    #[error(
        "the Gram matrix of {channels} inputs is not positive definite, with a damping of {damping} of its diagonal"
    )]
    Indefinite {
        /// Inputs.
        channels: usize,
        /// The damping.
        damping: f64,
    },
    /// Weights, palettes and matrix do not fit each other.
    #[error("{what}: {found}, expected {expected}")]
    Mismatch {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// Palettes cannot be made.
    #[error(transparent)]
    Quantize(#[from] crate::QuantizeError),
}

/// Requires a count.
fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), CompensateError> {
    if found == expected { Ok(()) } else { Err(CompensateError::Mismatch { what, found, expected }) }
}
