//! Adam with bias correction and decoupled decay, a schedule of the rate, clipping, and the scale of the loss.

use std::ops::Range;

use rayon::prelude::*;

/// Numbers that one thread moves at a time.
const PIECE: usize = 1 << 16;

/// Least factor of the rate at the end of the schedule.
const LAST_RATE: f64 = 0.1;

/// Steps without an overflow after which the loss is scaled twice as much.
const STEPS_TO_GROW: u32 = 200;

/// The largest scale of a loss.
const LARGEST_SCALE: f32 = 65_536.0;

/// What the optimizer is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// Highest learning rate.
    pub(crate) rate: f64,
    /// Steps over which it rises.
    pub(crate) warmup: u64,
    /// Steps in all, over which it falls behind that to a tenth along a cosine.
    pub(crate) steps: u64,
    /// Decay of the first moment.
    pub(crate) beta1: f64,
    /// Decay of the second moment.
    pub(crate) beta2: f64,
    /// Added to the root of the second moment.
    pub(crate) epsilon: f64,
    /// How much smaller matrices become at each step, beside the rate.
    pub(crate) decay: f64,
    /// Largest norm of all gradients; none where it is 0.
    pub(crate) clip: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { rate: 5e-4, warmup: 0, steps: 1, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.0, clip: 1.0 }
    }
}

impl Rates {
    /// The rate of a step, from 0.
    #[expect(clippy::cast_precision_loss, reason = "steps are few")]
    pub(super) fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / self.warmup as f64;
        }
        let left = self.steps.saturating_sub(self.warmup).max(1);
        let part = ((step - self.warmup) as f64 / left as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        self.rate * (LAST_RATE + (1.0 - LAST_RATE) * cosine)
    }
}

/// Moments of all weights, and the scale of the loss.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Optimizer {
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    /// Steps that were taken; one whose gradients overflowed is none.
    pub(super) steps: u64,
    /// Factor of the loss.
    pub(super) scale: f32,
    /// Steps since the last overflow.
    pub(super) calm: u32,
}

impl Optimizer {
    pub(super) fn new(count: usize, scale: f32) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count], steps: 0, scale, calm: 0 }
    }

    /// Moves weights against gradients that were accumulated over so many sequences. Gives the norm of the gradients, or none where
    /// they overflowed: nothing is moved then, and the loss is scaled half as much from now on.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "moments are singles")]
    pub(super) fn step(
        &mut self,
        weights: &mut [f32],
        gradients: &mut [f32],
        (sequences, rates, decays): (usize, &Rates, &[Range<usize>]),
    ) -> Option<f64> {
        let unscale = 1.0 / (self.scale * sequences as f32);
        gradients.par_chunks_mut(PIECE).for_each(|piece| piece.iter_mut().for_each(|gradient| *gradient *= unscale));
        let squares: Vec<f64> = gradients
            .par_chunks(PIECE)
            .map(|piece| piece.iter().map(|gradient| f64::from(*gradient) * f64::from(*gradient)).sum())
            .collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            self.scale = (self.scale / 2.0).max(1.0);
            self.calm = 0;
            return None;
        }
        let clip = if rates.clip > 0.0 { (rates.clip / (norm + 1e-6)).min(1.0) } else { 1.0 } as f32;
        let rate = rates.at(self.steps);
        for range in decays {
            let factor = (1.0 - rate * rates.decay) as f32;
            let matrices = weights.get_mut(range.clone()).unwrap_or_default();
            matrices.par_chunks_mut(PIECE).for_each(|piece| piece.iter_mut().for_each(|weight| *weight *= factor));
        }
        self.steps += 1;
        let power = self.steps as f64;
        let (bias1, bias2) = (1.0 - rates.beta1.powf(power), 1.0 - rates.beta2.powf(power));
        let (step, root) = ((rate / bias1) as f32, bias2.sqrt() as f32);
        let (beta1, beta2, epsilon) = (rates.beta1 as f32, rates.beta2 as f32, rates.epsilon as f32);
        weights
            .par_chunks_mut(PIECE)
            .zip(gradients.par_chunks(PIECE))
            .zip(self.first.par_chunks_mut(PIECE).zip(self.second.par_chunks_mut(PIECE)))
            .for_each(|((weights, gradients), (first, second))| {
                let moments = first.iter_mut().zip(second);
                for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradients).zip(moments) {
                    let gradient = gradient * clip;
                    *first = beta1 * *first + (1.0 - beta1) * gradient;
                    *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                    *weight -= step * *first / (second.sqrt() / root + epsilon);
                }
            });
        self.calm += 1;
        if self.scale > 1.0 && self.calm >= STEPS_TO_GROW {
            self.scale = (self.scale * 2.0).min(LARGEST_SCALE);
            self.calm = 0;
        }
        Some(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_as_long_as_the_rate_whatever_the_gradient() {
        let mut optimizer = Optimizer::new(2, 1.0);
        let (mut weights, mut gradients) = (vec![1.0, 1.0], vec![0.5, -0.001]);
        let rates = Rates { rate: 0.1, steps: 10, clip: 0.0, ..Rates::default() };
        let norm = optimizer.step(&mut weights, &mut gradients, (1, &rates, &[])).expect("finite");
        assert!((norm - 0.500_001).abs() < 1e-5);
        assert!((weights[0] - 0.9).abs() < 1e-5 && (weights[1] - 1.1).abs() < 1e-4, "{weights:?}");
    }

    #[test]
    fn a_step_that_overflows_moves_nothing_and_scales_less() {
        let mut optimizer = Optimizer::new(1, 1024.0);
        let (mut weights, mut gradients) = (vec![1.0], vec![f32::INFINITY]);
        assert_eq!(optimizer.step(&mut weights, &mut gradients, (1, &Rates::default(), &[])), None);
        assert_eq!((weights[0], optimizer.scale, optimizer.steps), (1.0, 512.0, 0));
    }

    #[test]
    fn the_rate_rises_and_falls_to_a_tenth() {
        let rates = Rates { rate: 1.0, warmup: 10, steps: 110, ..Rates::default() };
        assert!((rates.at(4) - 0.5).abs() < 1e-9 && (rates.at(10) - 1.0).abs() < 1e-9);
        assert!((rates.at(60) - 0.55).abs() < 1e-9 && (rates.at(110) - 0.1).abs() < 1e-9);
    }
}
