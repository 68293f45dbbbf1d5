//! Palettes for neural-network weights: slices of fp16 in; palettes, indices, packed bits and error statistics out.
//!
//! Nothing here reads files or starts threads; equal input gives equal output.
//!
//! # Palettes
//!
//! A palette of `k = 2^bits` entries that minimizes the squared error is a solution of 1-D k-means, and its clusters are
//! intervals. fp16 weights have at most 65,536 distinct values, so everything after one counting pass works on the `d`
//! values that occur: with prefix sums of counts, values and squares, mean and error of
//! any interval cost O(1), and no later step but the assignment depends on the number of weights `n`.
//!
//! [`Method::Fast`], in O(n + d + k log d) and a small multiple for the search of a penalty:
//!
//! 1. Count the weights in a table by their bits, in the order of values; take the sums.
//! 2. Start from the best bounds on a grid of a few lines per entry. Its density is that of the levels of a good quantizer,
//!    the cube root of the density of the values (Panter and Dite, "Quantization distortion in pulse-count modulation with
//!    nonuniform spacing of levels", 1951).
//! 3. Move all bounds at once to the best of 16 places beside their lines, by dynamic programming.
//! 4. Iterate Lloyd's algorithm until no bound moves ("Least squares quantization in PCM", 1982).
//! 5. Assign the weights through a table from their bits to the index.
//!
//! [`Method::Exact`] replaces steps 2 to 4 by shortest paths on which each interval costs a penalty besides its error, and
//! searches for the penalty that leads to `k` intervals (Aggarwal, Schieber, Tokuyama, "Finding a minimum-weight k-link path
//! in graphs with the concave Monge property", 1994): O(d log d) a penalty, of which a few dozen are tried at most in
//! practice, starting from that of the result of `Fast`. Where no penalty leads to `k`, it divides and conquers over the
//! bounds, which are monotone (Grønlund et al., "Fast exact k-means, k-medians and Bregman divergence clustering in 1D",
//! 2017), in O(k d log d). Both take O(d) memory.
//!
//! Entries are rounded to fp16 before weights are assigned to them, so the error that is reported is that of what is
//! stored.
//!
//! # Bounds
//!
//! - `Exact` is the least error that `k` fp16 entries can have. Each result is proven by duality: no partition has less than
//!   the least penalized error without the `k` penalties, and a result that is not within 1e-10 of that is computed by
//!   divide and conquer instead. Importance that is not a whole number has the precision of f64 sums.
//! - `Fast` is a fixed point of Lloyd's algorithm: no entry and no bound can be moved alone with a gain. It is usually
//!   within 0.1 % of the optimum; there is no guarantee.
//! - The optimum itself falls by 6 dB with every bit: for fine palettes it is `(∫ f^(1/3))³ / 12k²` per weight, which is
//!   `2.72 σ² / k²` for normally distributed weights.
//! - The error of one weight is at most half the gap between its neighbours in the palette, or its distance from the
//!   outermost entry. Rounding to fp16 moves an entry by 2^-11 of its magnitude at most, and by 2^-25 where it is subnormal.
//! - int8: at most half a scale, which is 1/127 of the largest magnitude in its row, rounded up.
//!
//! ```
//! use anec_quantize::{Method, pack, palettize_group};
//! use half::f16;
//!
//! let weights: Vec<f16> = [0.5, -0.25, 0.5, 0.125].map(f16::from_f32).to_vec();
//! let group = palettize_group(&weights, 2, Method::Fast)?;
//! assert_eq!(group.indices, [2, 0, 2, 1]);
//! let mut packed = Vec::new();
//! pack(&group.indices, 2, &mut packed);
//! assert_eq!(packed, [0b01_10_00_10]);
//! # Ok::<(), anec_quantize::QuantizeError>(())
//! ```

pub mod compensate;
mod corridor;
mod divide;
mod exact;
mod float;
mod grid;
mod group;
mod histogram;
mod kmeans;
mod linear;
mod lloyd;
mod pack;
mod palette;
mod paths;
pub mod product;
mod rows;
mod start;
mod stats;
mod sums;
mod vectors;

use half::f16;

pub use float::widen_all;
pub use group::{GroupPalette, Palettizer};
pub use histogram::Histogram;
pub use linear::{Int8Rows, int8_scale, largest_magnitude, quantize_int8, quantize_rows_int8};
pub use pack::{pack, unpack};
pub use palette::{Assigner, Palette};
pub use rows::{AssignedRows, NormalizedRows, ScaledPalette, palettize_scaled_rows};
pub use stats::ErrorStats;
pub use vectors::{VectorLayout, VectorPalette, palettize_vectors};

/// How the entries of a palette are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Lloyd's algorithm from a start that is nearly optimal: a local optimum near the global one.
    Fast,
    /// The global optimum over palettes of fp16 numbers.
    Exact,
}

/// Weights that cannot be quantized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// A weight is infinite or not a number.
    #[error("Weight {position} is {value}, expected a finite number")]
    NotFinite {
        /// Position in the slice.
        position: usize,
        /// The weight.
        value: f16,
    },
    /// An index width that palettes do not have.
    #[error("A palette cannot have {bits} bits, expected 1 to 8")]
    Bits {
        /// The width asked for.
        bits: u8,
    },
    /// No weights at all.
    #[error("Cannot quantize no weights")]
    Empty,
    /// Weights that cannot be cut into rows.
    #[error("{weights} weights are not whole rows of {columns}")]
    Rows {
        /// Number of weights.
        weights: usize,
        /// The length of a row that was asked for.
        columns: usize,
    },
    /// Vectors that palettes do not have.
    #[error("A palette cannot have vectors of {width}, expected 2 to 4")]
    Width {
        /// The width asked for.
        width: usize,
    },
    /// Weights that cannot be cut into vectors.
    #[error("{weights} weights are not whole vectors of {width} that are {inner} apart")]
    Vectors {
        /// Number of weights.
        weights: usize,
        /// The width asked for.
        width: usize,
        /// The distance of neighbours in a vector.
        inner: usize,
    },
    /// Importance that no error can be weighed with.
    #[error("The importance of weight {position} is {value}, expected a finite number that is not negative")]
    Importance {
        /// Position in the slice.
        position: usize,
        /// The importance.
        value: f64,
    },
    /// Not one importance for each weight.
    #[error("{importance} numbers of importance for {weights} weights")]
    ImportanceLength {
        /// Number of weights.
        weights: usize,
        /// Number of numbers of importance.
        importance: usize,
    },
}

/// A palette with the indices of the weights that it was made for.
#[derive(Clone, Debug)]
pub struct PalettizedGroup {
    /// The palette.
    pub palette: Palette,
    /// One index per weight.
    pub indices: Vec<u8>,
    /// The error.
    pub stats: ErrorStats,
}

/// Makes a palette of `2^bits` entries for these weights and assigns each weight to its nearest entry.
///
/// A [`Palettizer`] does the same for many groups, with less effort for each.
///
/// # Errors
/// There are no weights, one is not finite, or `bits` is not 1 to 8.
pub fn palettize_group(weights: &[f16], bits: u8, method: Method) -> Result<PalettizedGroup, QuantizeError> {
    let mut indices = Vec::with_capacity(weights.len());
    let GroupPalette { palette, stats } = Palettizer::new(bits, method)?.group(weights, &mut indices)?;
    Ok(PalettizedGroup { palette, indices, stats })
}

/// The palette for what the sums hold, which is not nothing.
fn solve(sums: &sums::PrefixSums, bits: u8, method: Method) -> Palette {
    let centers = 1_usize << bits;
    let means = if sums.len() <= centers {
        sums.values.clone()
    } else {
        let bounds = lloyd::bounds(sums, centers);
        match method {
            Method::Fast => bounds.windows(2).map(|pair| sums.mean(pair[0], pair[1])).collect(),
            Method::Exact => exact::centers(sums, &bounds),
        }
    };
    Palette::new(&means, centers)
}

fn check_bits(bits: u8) -> Result<(), QuantizeError> {
    if (1..=8).contains(&bits) { Ok(()) } else { Err(QuantizeError::Bits { bits }) }
}

fn check_importance(importance: impl IntoIterator<Item = f64>) -> Result<(), QuantizeError> {
    match importance.into_iter().enumerate().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
        Some((position, value)) => Err(QuantizeError::Importance { position, value }),
        None => Ok(()),
    }
}

fn check_finite(weights: &[f16]) -> Result<(), QuantizeError> {
    if float::all_finite(weights) {
        return Ok(());
    }
    match weights.iter().enumerate().find(|(_, weight)| !weight.is_finite()) {
        Some((position, value)) => Err(QuantizeError::NotFinite { position, value: *value }),
        None => Ok(()),
    }
}

/// Rows are whole, there is at least one, and all weights are finite.
fn check_rows(weights: &[f16], columns: usize) -> Result<(), QuantizeError> {
    if weights.is_empty() {
        return Err(QuantizeError::Empty);
    }
    if columns == 0 || !weights.len().is_multiple_of(columns) {
        return Err(QuantizeError::Rows { weights: weights.len(), columns });
    }
    check_finite(weights)
}

#[cfg(test)]
mod optimum_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_tests;
