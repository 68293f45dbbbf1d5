//! What of a step is the trainer's: the backward pass of norms, the loss.
//!
//! Activations are `[channels, sequence]`, row-major.

use rayon::prelude::*;

/// The factor of each token by which its channels are normalized.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sums are kept in f64")]
fn norm_factors(x: &[f32], sequence: usize, epsilon: f64) -> Vec<f32> {
    let mut squares = vec![0.0_f64; sequence];
    for row in x.chunks_exact(sequence) {
        for (square, x) in squares.iter_mut().zip(row) {
            *square += f64::from(*x) * f64::from(*x);
        }
    }
    let channels = (x.len() / sequence) as f64;
    squares.into_iter().map(|square| (1.0 / (square / channels + epsilon).sqrt()) as f32).collect()
}

/// RMSNorm over channels times the weight.
pub(super) fn normalized(x: &[f32], weight: &[f32], sequence: usize, epsilon: f64) -> Vec<f32> {
    let factors = norm_factors(x, sequence, epsilon);
    let rows = x.chunks_exact(sequence).zip(weight);
    rows.flat_map(|(row, weight)| row.iter().zip(&factors).map(move |(x, factor)| x * factor * weight)).collect()
}

/// Adds the gradient of the input of a norm to `dx`, and that of its weight to `d_weight`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sums are kept in f64")]
pub(super) fn add_norm_gradient(
    (dx, d_weight): (&mut [f32], &mut [f32]),
    (x, weight, dy): (&[f32], &[f32], &[f32]),
    sequence: usize,
    epsilon: f64,
) {
    let factors = norm_factors(x, sequence, epsilon);
    let channels = (x.len() / sequence) as f64;
    let mut along = vec![0.0_f64; sequence];
    let rows = x.chunks_exact(sequence).zip(dy.chunks_exact(sequence)).zip(weight).zip(d_weight);
    for (((x, dy), weight), d_weight) in rows {
        let mut sum = 0.0_f64;
        for (((x, dy), factor), along) in x.iter().zip(dy).zip(&factors).zip(&mut along) {
            let unit = x * factor;
            sum += f64::from(dy * unit);
            *along += f64::from(dy * weight * unit);
        }
        *d_weight += sum as f32;
    }
    let means: Vec<f32> = along.into_iter().map(|along| (along / channels) as f32).collect();
    let rows = dx.chunks_exact_mut(sequence).zip(x.chunks_exact(sequence)).zip(dy.chunks_exact(sequence)).zip(weight);
    for (((dx, x), dy), weight) in rows {
        for ((((dx, x), dy), factor), mean) in dx.iter_mut().zip(x).zip(dy).zip(&factors).zip(&means) {
            *dx += factor * (dy * weight - x * factor * mean);
        }
    }
}

/// The mean loss of tokens, whose logits become the gradients of that mean times `scale`.
///
/// # Shapes
/// `logits: [tokens, vocabulary]`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sums are kept in f64")]
pub(super) fn cross_entropy(logits: &mut [f32], targets: &[u16], vocabulary: usize, scale: f32) -> f64 {
    let tokens = targets.len();
    let losses: Vec<f64> = logits
        .par_chunks_exact_mut(vocabulary)
        .zip(targets)
        .map(|(row, target)| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let of_target = row.get(usize::from(*target)).copied().unwrap_or(f32::NAN);
            let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
            for (index, logit) in row.iter_mut().enumerate() {
                let probability = f64::from(*logit - largest).exp() / sum;
                let wanted = f64::from(u8::from(index == usize::from(*target)));
                *logit = ((probability - wanted) / tokens as f64) as f32 * scale;
            }
            sum.ln() - f64::from(of_target - largest)
        })
        .collect();
    losses.iter().sum::<f64>() / tokens as f64
}

/// Turns the gradients of rotated queries or keys back to those before the rotation: neighbouring channels of every head.
pub(super) fn rotate_back(x: &mut [f32], (cos, sin): (&[f32], &[f32]), head_dim: usize, sequence: usize) {
    for head in x.chunks_exact_mut(head_dim * sequence) {
        for (pair, rows) in head.chunks_exact_mut(2 * sequence).enumerate() {
            let (first, second) = rows.split_at_mut(sequence);
            let table =
                |table: &'_ [f32]| table.iter().skip(pair * sequence).take(sequence).copied().collect::<Vec<_>>();
            for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(table(cos)).zip(table(sin)) {
                let (x, y) = (*a, *b);
                *a = x * cos + y * sin;
                *b = y * cos - x * sin;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_of_a_norm_is_the_slope_of_its_sum() {
        let (sequence, epsilon) = (2, 1e-5);
        let x: Vec<f32> = vec![0.5, -1.0, 2.0, 0.25, -0.75, 1.5];
        let (weight, dy) = (vec![1.0, 0.5, 2.0], vec![0.3, -0.2, 0.1, 0.4, -0.5, 0.6]);
        let value = |x: &[f32], weight: &[f32]| -> f64 {
            normalized(x, weight, sequence, epsilon).iter().zip(&dy).map(|(y, dy)| f64::from(y * dy)).sum()
        };
        let (mut dx, mut d_weight) = (vec![0.0; 6], vec![0.0; 3]);
        add_norm_gradient((&mut dx, &mut d_weight), (&x, &weight, &dy), sequence, epsilon);
        let near = |slope: f64, found: f32| assert!((slope - f64::from(found)).abs() < 2e-3, "{slope} and {found}");
        for (index, found) in dx.iter().enumerate() {
            let moved =
                |by: f32| x.iter().enumerate().map(|(i, x)| if i == index { x + by } else { *x }).collect::<Vec<_>>();
            near((value(&moved(1e-2), &weight) - value(&moved(-1e-2), &weight)) / 2e-2, *found);
        }
        for (index, found) in d_weight.iter().enumerate() {
            let moved = |by: f32| {
                weight.iter().enumerate().map(|(i, x)| if i == index { x + by } else { *x }).collect::<Vec<_>>()
            };
            near((value(&x, &moved(1e-2)) - value(&x, &moved(-1e-2))) / 2e-2, *found);
        }
    }

    #[test]
    fn the_loss_of_equal_logits_is_the_logarithm_of_the_vocabulary() {
        let mut logits = vec![1.0; 8];
        let loss = cross_entropy(&mut logits, &[0, 3], 4, 1.0);
        assert!((loss - 4.0_f64.ln()).abs() < 1e-9);
        assert_eq!(logits, [-0.375, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, -0.375]);
    }
}
