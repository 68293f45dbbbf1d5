//! What is left of a projection's result when its weight is stored in one way or another.

use anec_quantize::QuantizeError;
use anec_quantize::compensate::{CompensateError, Factor, GroupPalettes};
use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::Choice;
use crate::calibrate::error::CalibrateError;
use crate::calibrate::layer::assigned;
use crate::calibrate::settings::{PaletteShape, Strength};
use crate::product::gram;
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

/// Rows of a weight that are looked at; of larger ones, groups from all over.
const MOST_ROWS: usize = 1024;

/// A weight.
pub(super) struct CostOf<'a> {
    pub(super) rows: &'a Rows,
    /// `[outputs, inputs]`
    pub(super) weight: &'a [f32],
    /// The mean square of each output's gradient.
    pub(super) squares: &'a [f32],
}

/// What is known of a projection's inputs.
pub(super) struct Stage {
    layer: usize,
    pub(super) factor: Factor,
}

impl Stage {
    /// Of inputs `x: [tokens, channels]`.
    pub(super) fn new(layer: usize, x: &[f32], channels: usize, damping: f64) -> Result<Self, CalibrateError> {
        let gram = gram(x, None, channels);
        let failed = |source| CalibrateError::Gram { layer, what: "of a projection", source };
        Ok(Self { layer, factor: Factor::new(&gram, channels, damping).map_err(failed)? })
    }

    /// What the candidates cost; infinitely much where the weight cannot be stored so.
    pub(super) fn choices(
        &self,
        cost: &CostOf<'_>,
        candidates: &[Storage],
        strength: Strength,
    ) -> Result<Vec<Choice>, CalibrateError> {
        let choice = |storage: &Storage| {
            let bits = stored_bits(cost.rows, storage);
            let divergence = match bits {
                None => f64::INFINITY,
                Some(_) => self.divergence(cost, storage, strength).map_err(|source| CalibrateError::Weight {
                    tensor: format!("{} (layer {})", cost.rows.tensor, self.layer),
                    source,
                })?,
            };
            Ok(Choice { storage: storage.clone(), bits: bits.unwrap_or(u64::MAX), divergence })
        };
        candidates.iter().map(choice).collect()
    }

    /// `½ Σ_r D_r Δ_r H Δ_rᵀ`.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn divergence(&self, cost: &CostOf<'_>, storage: &Storage, strength: Strength) -> Result<f64, CompensateError> {
        let columns = self.factor.channels();
        let group_rows = palette_shape(storage, cost.squares.len()).map_or(1, |shape| shape.group_rows);
        let chosen = chosen_groups(cost.squares.len(), group_rows);
        let rows: Vec<usize> = chosen.iter().flat_map(|group| group * group_rows..(group + 1) * group_rows).collect();
        let mut weight = Vec::with_capacity(rows.len() * columns);
        for row in &rows {
            weight.extend_from_slice(cost.weight.get(row * columns..(row + 1) * columns).unwrap_or_default());
        }
        let errors = self.errors(&weight, storage, strength)?;
        let squares = rows.iter().map(|row| cost.squares.get(*row).copied().unwrap_or_default());
        let sum: f64 = errors.iter().zip(squares).map(|(error, square)| error * f64::from(square)).sum();
        Ok(0.5 * sum * cost.squares.len() as f64 / rows.len().max(1) as f64)
    }

    /// `Δ_r H Δ_rᵀ` of each row.
    fn errors(&self, weight: &[f32], storage: &Storage, strength: Strength) -> Result<Vec<f64>, CompensateError> {
        let columns = self.factor.channels();
        if let Some(shape) = palette_shape(storage, weight.len() / columns) {
            // What is left after all have made up for what they can is a sum over columns.
            let (palettes, found) = assigned(weight, None, shape, &self.factor, strength)?;
            let importance = self.factor.remaining_importance();
            return Ok(left(&palettes, &found.targets, &found.indices, &importance));
        }
        if storage.quantized_bits().is_none() {
            return Ok(vec![0.0; weight.len() / columns]);
        }
        // Integers are rounded each for itself, so their errors do not go together.
        let stored = rounded(weight, columns)?;
        let error = |(row, stored): (&[f32], &[f32])| {
            let columns = row.iter().zip(stored).zip(self.factor.importance());
            columns.map(|((weight, stored), h)| f64::from(weight - stored).powi(2) * f64::from(*h)).sum()
        };
        Ok(weight.chunks_exact(columns).zip(stored.chunks_exact(columns)).map(error).collect())
    }
}

/// Weights as int8 with a scale for each row stores them.
pub(super) fn rounded(weight: &[f32], columns: usize) -> Result<Vec<f32>, QuantizeError> {
    let mut narrow = vec![f16::ZERO; weight.len()];
    narrow.convert_from_f32_slice(weight);
    let rounded = anec_quantize::quantize_rows_int8(&narrow, columns)?;
    let rows = rounded.data.chunks_exact(columns).zip(&rounded.scales);
    let widened = rows.flat_map(|(row, scale)| {
        let scale = scale.to_f32();
        row.iter().map(move |integer| f32::from(*integer) * scale)
    });
    Ok(widened.collect())
}

/// The palettes that a storage has for a weight of so many rows.
pub(super) fn palette_shape(storage: &Storage, rows: usize) -> Option<PaletteShape> {
    let lut = storage.lut()?;
    let group_rows = lut.channels.and_then(|channels| usize::try_from(channels).ok()).unwrap_or(rows);
    Some(PaletteShape { bits: lut.bits, group_rows: group_rows.clamp(1, rows.max(1)) })
}

/// Bits of the blobs; none where the weight cannot be stored so.
pub(super) fn stored_bits(rows: &Rows, storage: &Storage) -> Option<u64> {
    let blobs = storage.encoding().blobs(rows, &[rows.count(), rows.columns, 1, 1]).ok()?;
    let bytes = blobs.iter().map(|blob| blob.dtype.packed_bytes(blob.element_count()?));
    bytes.sum::<Option<u64>>().and_then(|bytes| bytes.checked_mul(8))
}

/// Groups that are looked at, evenly from all.
fn chosen_groups(rows: usize, group_rows: usize) -> Vec<usize> {
    let groups = rows / group_rows;
    let count = groups.min((MOST_ROWS / group_rows).max(1));
    (0..count).map(|index| index * groups / count).collect()
}

/// The weighted squared distance of each row's targets from their entries.
fn left(palettes: &GroupPalettes, targets: &[f32], indices: &[u8], importance: &[f32]) -> Vec<f64> {
    let columns = importance.len();
    let rows = targets.chunks_exact(columns).zip(indices.chunks_exact(columns)).enumerate();
    let error = |(row, (targets, indices)): (usize, (&[f32], &[u8]))| {
        let entries: Vec<f32> = palettes.of_row(row).iter().map(|entry| entry.to_f32()).collect();
        let columns = targets.iter().zip(indices).zip(importance);
        let squares = columns.map(|((target, index), importance)| {
            let error = target - entries.get(usize::from(*index)).copied().unwrap_or_default();
            f64::from(error) * f64::from(error) * f64::from(*importance)
        });
        squares.sum()
    };
    rows.map(error).collect()
}
