//! What stands between the kernels, in single precision: norms, rotations, attention, the gate.
//!
//! Every number depends on its own token and on those before it, and is summed in one order, so that a token of a prompt
//! gives the same bits as the token alone.

use super::sizes::{Activation, LayerKind, Sizes};

/// RMSNorm of rows as long as the weight.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sums are kept in f64")]
pub(super) fn normalize(rows: &mut [f32], weight: &[f32], epsilon: f64) {
    for row in rows.chunks_exact_mut(weight.len().max(1)) {
        let square: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let factor = (1.0 / (square / row.len() as f64 + epsilon).sqrt()) as f32;
        for (x, weight) in row.iter_mut().zip(weight) {
            *x = *x * factor * weight;
        }
    }
}

/// Adds a branch to the residual.
#[expect(clippy::cast_possible_truncation, reason = "the factor was a single in the config")]
pub(super) fn add(residual: &mut [f32], branch: &[f32], multiplier: f64) {
    let multiplier = multiplier as f32;
    for (x, branch) in residual.iter_mut().zip(branch) {
        *x += branch * multiplier;
    }
}

/// Rotates the first channels of every head: `x * cos + rotate_half(x) * sin`.
pub(super) fn rotate(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    let half = cos.len() / 2;
    for head in row.chunks_exact_mut(head_dim.max(1)) {
        let Some((first, second)) = head.get_mut(..half * 2).map(|head| head.split_at_mut(half)) else { continue };
        for (index, (a, b)) in first.iter_mut().zip(second).enumerate() {
            let at = |table: &[f32], index: usize| table.get(index).copied().unwrap_or(0.0);
            let (x, y) = (*a, *b);
            *a = x * at(cos, index) - y * at(sin, index);
            *b = y * at(cos, index + half) + x * at(sin, index + half);
        }
    }
}

/// The activated gate times what it multiplies, in place of the gate.
pub(super) fn activate(gate: &mut [f32], up: &[f32], activation: Activation) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = up
            * match activation {
                Activation::Silu => *gate / (1.0 + libm::expf(-*gate)),
                Activation::GeluTanh => gelu_tanh(*gate),
            };
    }
}

fn gelu_tanh(x: f32) -> f32 {
    /// `sqrt(2 / pi)`.
    const SCALE: f32 = 0.797_884_6;
    const CUBE: f32 = 0.044_715;
    0.5 * x * (1.0 + libm::tanhf(SCALE * (x + CUBE * x * x * x)))
}

/// `cap * tanh(x / cap)`.
#[expect(clippy::cast_possible_truncation, reason = "the bound was a single in the config")]
pub(super) fn softcap(x: f32, cap: Option<f64>) -> f32 {
    match cap {
        Some(cap) => cap as f32 * libm::tanhf(x / cap as f32),
        None => x,
    }
}

/// Keys and values of a layer, a row for each position, as many as were written.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl Cache {
    /// Writes rows from `position` on; what was there is replaced, and so is everything behind.
    pub(super) fn write(&mut self, position: usize, width: usize, keys: &[f32], values: &[f32]) {
        for (kept, new) in [(&mut self.keys, keys), (&mut self.values, values)] {
            kept.resize(position * width, 0.0);
            kept.extend_from_slice(new);
        }
    }

    /// What the query heads of the token at `position` get: `[heads * head_dim]`.
    #[expect(clippy::cast_possible_truncation, reason = "the factor is applied in single precision")]
    pub(super) fn attend(&self, query: &[f32], position: usize, kind: LayerKind, sizes: &Sizes) -> Vec<f32> {
        let (head_dim, width) = (sizes.head_dim, sizes.kv_size());
        let group = sizes.heads / sizes.kv_heads;
        let scale = sizes.glue.query_scale as f32;
        let first = (position + 1).saturating_sub(kind.window);
        let mut mixed = vec![0.0; query.len()];
        let heads = query.chunks_exact(head_dim.max(1)).zip(mixed.chunks_exact_mut(head_dim.max(1)));
        for (head, (query, mixed)) in heads.enumerate() {
            let kv_head = head / group;
            let query: Vec<f32> = query.iter().map(|q| q * scale).collect();
            let dot = |key: usize| {
                let start = key * width + kv_head * head_dim;
                let keys = self.keys.get(start..start + head_dim).unwrap_or_default();
                let product: f32 = query.iter().zip(keys).map(|(q, k)| q * k).sum();
                softcap(product, sizes.glue.attention_softcap)
            };
            let mut scores: Vec<f32> = (first..=position).map(dot).collect();
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0_f64;
            for score in &mut scores {
                *score = libm::expf(*score - largest);
                total += f64::from(*score);
            }
            for (key, score) in (first..=position).zip(&scores) {
                let weight = (f64::from(*score) / total) as f32;
                let start = key * width + kv_head * head_dim;
                let values = self.values.get(start..start + head_dim).unwrap_or_default();
                for (mixed, value) in mixed.iter_mut().zip(values) {
                    *mixed += weight * value;
                }
            }
        }
        mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_of_ones_keeps_a_row_of_ones() {
        let mut rows = vec![3.0; 8];
        normalize(&mut rows, &[1.0, 1.0, 2.0, 1.0], 0.0);
        assert_eq!(rows, [1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 2.0, 1.0]);
    }

    #[test]
    fn a_quarter_turn_swaps_the_halves_of_a_head_and_leaves_the_rest() {
        let mut head = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        rotate(&mut head, 6, &[0.0; 4], &[1.0; 4]);
        assert_eq!(head, [-3.0, -4.0, 1.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn a_cache_that_goes_back_forgets_what_was_behind() {
        let mut cache = Cache::default();
        cache.write(0, 2, &[1.0; 6], &[1.0; 6]);
        cache.write(1, 2, &[2.0; 2], &[2.0; 2]);
        assert_eq!(cache.keys, [1.0, 1.0, 2.0, 2.0]);
    }
}
