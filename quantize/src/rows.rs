//! A scale for each output channel, apart from the palette that all of them share.
//!
//! A weight is stored as `palette entry * scale of its row`. Rows are divided by their root mean square, which makes rows
//! of unequal magnitude alike; then they share a palette at little loss. An error in a normalized row counts times the
//! square of its scale, so rows enter the histogram of the palette with that weight. After assignment the scale is chosen
//! anew, to fit the entries that were taken best, and the row is assigned with that scale.

use half::f16;

use crate::float::widen;
use crate::{Assigner, ErrorStats, Histogram, Method, Palette, QuantizeError, check_rows};

/// The least scale: smaller fp16 numbers are subnormal, and hardware may take those for zero.
const LEAST_SCALE: f16 = f16::MIN_POSITIVE;

/// How often a scale is chosen and its row assigned anew; each time the error falls, and the second time hardly.
const ROUNDS: usize = 2;

/// Rows divided by a scale of their own.
///
/// Normalizing is deterministic and cheap, so a weight that does not fit into memory is normalized twice: once to
/// [count](Self::count_into) it, once to [assign](Self::assign) it.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizedRows {
    weights: Vec<f16>,
    scales: Vec<f16>,
    columns: usize,
}

/// The indices of normalized rows in a palette.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignedRows {
    /// One index per weight.
    pub indices: Vec<u8>,
    /// One scale per row; positive and finite.
    pub scales: Vec<f16>,
    /// The error of `entry * scale`.
    pub stats: ErrorStats,
}

/// Rows with one palette and a scale each.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledPalette {
    /// The palette.
    pub palette: Palette,
    /// Indices, scales and error.
    pub rows: AssignedRows,
}

/// Makes a palette of `2^bits` entries and a scale for each row of `columns` weights.
///
/// ```
/// use anec_quantize::{Method, palettize_scaled_rows};
/// use half::f16;
///
/// // The second row is a hundredth of the first.
/// let weights = [1.0, -2.0, 0.01, -0.02].map(f16::from_f32);
/// let scaled = palettize_scaled_rows(&weights, 2, 1, Method::Fast)?;
/// assert_eq!(scaled.rows.indices, [1, 0, 1, 0]);
/// assert!(scaled.rows.stats.snr_db() > 60.0);
/// # Ok::<(), anec_quantize::QuantizeError>(())
/// ```
///
/// # Errors
/// There are no weights, they are not whole rows, one is not finite, or `bits` is not 1 to 8.
pub fn palettize_scaled_rows(
    weights: &[f16],
    columns: usize,
    bits: u8,
    method: Method,
) -> Result<ScaledPalette, QuantizeError> {
    let normalized = NormalizedRows::new(weights, columns)?;
    let mut histogram = Histogram::new();
    normalized.count_into(&mut histogram)?;
    let palette = histogram.palette(bits, method)?;
    let rows = normalized.assign(weights, &palette.assigner());
    Ok(ScaledPalette { palette, rows })
}

impl NormalizedRows {
    /// Divides each row of `columns` weights by its root mean square, rounded to fp16; a row of zeros by 1.
    ///
    /// # Errors
    /// There are no weights, they are not whole rows, or one is not finite.
    pub fn new(weights: &[f16], columns: usize) -> Result<Self, QuantizeError> {
        check_rows(weights, columns)?;
        let mut rows = Self {
            weights: Vec::with_capacity(weights.len()),
            scales: Vec::with_capacity(weights.len() / columns),
            columns,
        };
        for row in weights.chunks_exact(columns) {
            let scale = root_mean_square(row);
            normalize(row, scale, &mut rows.weights);
            rows.scales.push(scale);
        }
        Ok(rows)
    }

    /// The normalized weights.
    pub fn weights(&self) -> &[f16] {
        &self.weights
    }

    /// The scale of each row that it was divided by.
    pub fn scales(&self) -> &[f16] {
        &self.scales
    }

    /// Adds the rows to a histogram, each with the square of its scale as the importance of its weights.
    ///
    /// # Errors
    /// Never for rows that were made from finite weights of at most 2^32 columns.
    pub fn count_into(&self, histogram: &mut Histogram) -> Result<(), QuantizeError> {
        for (row, scale) in self.weights.chunks_exact(self.columns).zip(&self.scales) {
            histogram.add_with(row, scale.to_f64().powi(2))?;
        }
        Ok(())
    }

    /// Assigns weights to the nearest entries, chooses the scale of each row that fits its entries best, assigns anew with
    /// that scale, and measures the error against the weights that these rows were made from.
    pub fn assign(&self, weights: &[f16], assigner: &Assigner<'_>) -> AssignedRows {
        let entries: Vec<f32> = assigner.palette().entries().iter().map(|entry| widen(*entry)).collect();
        let stored = |index: &u8| entries.get(usize::from(*index)).copied().unwrap_or_default();
        let mut indices = vec![0; self.weights.len()];
        assigner.assign(&self.weights, &mut indices);
        let mut scales = self.scales.clone();
        let mut stats = ErrorStats::default();
        let mut normalized = Vec::with_capacity(self.columns);
        let rows = weights.chunks_exact(self.columns).zip(indices.chunks_exact_mut(self.columns));
        for ((row, indices), scale) in rows.zip(&mut scales) {
            for _ in 0..ROUNDS {
                *scale = best_scale(row, indices.iter().map(stored), *scale);
                normalized.clear();
                normalize(row, *scale, &mut normalized);
                assigner.assign(&normalized, indices);
            }
            let factor = widen(*scale);
            let pairs = row.iter().map(|weight| widen(*weight)).zip(indices.iter().map(|index| stored(index) * factor));
            stats.merge(&ErrorStats::of_pairs(pairs));
        }
        AssignedRows { indices, scales, stats }
    }
}

/// Appends the weights of a row, divided by its scale.
fn normalize(row: &[f16], scale: f16, normalized: &mut Vec<f16>) {
    let divisor = widen(scale);
    normalized.extend(row.iter().map(|weight| f16::from_f32(widen(*weight) / divisor)));
}

/// Rounded to fp16; 1 for a row of zeros.
fn root_mean_square(row: &[f16]) -> f16 {
    #[expect(clippy::cast_precision_loss, reason = "rows are far shorter than 2^52")]
    let length = row.len() as f64;
    let sum: f64 = row.iter().map(|weight| f64::from(widen(*weight)).powi(2)).sum();
    if sum == 0.0 {
        return f16::ONE;
    }
    f16::from_f64((sum / length).sqrt()).max(LEAST_SCALE)
}

/// The scale with the least squared error for these entries: the projection of the row onto them.
fn best_scale(row: &[f16], entries: impl Iterator<Item = f32>, otherwise: f16) -> f16 {
    let (mut product, mut square) = (0.0, 0.0);
    for (weight, entry) in row.iter().zip(entries) {
        product += f64::from(widen(*weight) * entry);
        square += f64::from(entry * entry);
    }
    let best = f16::from_f64(product / square);
    // Not a number where all entries are zero.
    if best >= LEAST_SCALE && best.is_finite() { best } else { otherwise }
}
