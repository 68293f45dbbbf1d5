//! Symmetric linear int8: a row of weights is integers of -127 to 127 times one fp16 scale.

use half::f16;

use crate::float::{self, widen};
use crate::{ErrorStats, QuantizeError, check_rows};

/// The largest magnitude that is used: -128 has no positive counterpart.
const LARGEST_INTEGER: f32 = 127.0;

/// Rows of integers, each with a scale of its own: a weight is stored as `data * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Rows {
    /// The integers, as long as the weights.
    pub data: Vec<i8>,
    /// One scale per row; positive and finite.
    pub scales: Vec<f16>,
    /// The error of `data * scale`.
    pub stats: ErrorStats,
}

/// Quantizes rows of `columns` weights with a scale for each.
///
/// A whole tensor is one row: pass the number of its weights. A tensor that does not fit into memory goes through
/// [`largest_magnitude`], [`int8_scale`] and [`quantize_int8`], a slice at a time.
///
/// ```
/// use half::f16;
///
/// let weights = [0.5, -1.0, 0.0, 0.25].map(f16::from_f32);
/// let rows = anec_quantize::quantize_rows_int8(&weights, 2)?;
/// assert_eq!(rows.data, [63, -127, 0, 127]);
/// assert_eq!(rows.scales.len(), 2);
/// # Ok::<(), anec_quantize::QuantizeError>(())
/// ```
///
/// # Errors
/// There are no weights, they are not whole rows, or one is not finite.
pub fn quantize_rows_int8(weights: &[f16], columns: usize) -> Result<Int8Rows, QuantizeError> {
    check_rows(weights, columns)?;
    let mut rows = Int8Rows {
        data: Vec::with_capacity(weights.len()),
        scales: Vec::with_capacity(weights.len() / columns),
        stats: ErrorStats::default(),
    };
    for row in weights.chunks_exact(columns) {
        let scale = int8_scale(float::largest_magnitude(row));
        rows.stats.merge(&quantize_int8(row, scale, &mut rows.data));
        rows.scales.push(scale);
    }
    Ok(rows)
}

/// The largest magnitude among the weights; zero where there are none.
///
/// # Errors
/// A weight is not finite.
pub fn largest_magnitude(weights: &[f16]) -> Result<f16, QuantizeError> {
    crate::check_finite(weights)?;
    Ok(float::largest_magnitude(weights))
}

/// The scale for weights up to a magnitude: the least that clips none of them, 1 where all are zero.
pub fn int8_scale(largest: f16) -> f16 {
    let largest = widen(largest).abs();
    if largest == 0.0 {
        return f16::ONE;
    }
    let scale = f16::from_f32(largest / LARGEST_INTEGER);
    // A positive number is followed by the next one in the order of its bits.
    if widen(scale) * LARGEST_INTEGER < largest { f16::from_bits(scale.to_bits() + 1) } else { scale }
}

/// Appends the integers that are nearest to `weights / scale` and gives the error of storing them.
///
/// The weights must be finite and the scale positive; integers beyond -127 to 127 are clipped.
pub fn quantize_int8(weights: &[f16], scale: f16, data: &mut Vec<i8>) -> ErrorStats {
    /// 1.5 * 2^23: adding it leaves no fraction bits, so the sum is rounded to even.
    const ROUND: f32 = 12_582_912.0;
    let scale = widen(scale);
    let start = data.len();
    #[expect(clippy::cast_possible_truncation, reason = "clamped and whole")]
    data.extend(weights.iter().map(|weight| {
        let quotient = (widen(*weight) / scale).clamp(-LARGEST_INTEGER, LARGEST_INTEGER);
        ((quotient + ROUND) - ROUND) as i8
    }));
    let stored = data.iter().skip(start).map(|integer| f32::from(*integer) * scale);
    ErrorStats::of_pairs(weights.iter().map(|weight| widen(*weight)).zip(stored))
}
