//! How well two sets of logits agree.

use anec_schemas::report::Agreement;

/// Sums over positions, from which an [`Agreement`] is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    positions: u64,
    kl_sum: f64,
    kl_max: f64,
    same_best: u64,
    error_sum: f64,
    error_count: u64,
    error_max: f64,
    /// Negative log-likelihoods of the tokens that follow, and how many there are.
    reference_nll: f64,
    model_nll: f64,
    scored: u64,
    kl: Vec<Vec<f32>>,
}

impl Comparison {
    /// Begins a window.
    pub(super) fn begin_window(&mut self) {
        self.kl.push(Vec::new());
    }

    /// Adds a position: the logits of both, and the token that follows.
    pub(super) fn add(&mut self, reference: &[f32], model: &[f32], next: Option<u32>) {
        let (p, q) = (log_softmax(reference), log_softmax(model));
        let kl = divergence(&p, &q);
        self.positions += 1;
        self.kl_sum += kl;
        self.kl_max = worse(self.kl_max, kl);
        self.same_best += u64::from(best(reference) == best(model));
        for (a, b) in reference.iter().zip(model) {
            let error = f64::from((a - b).abs());
            self.error_sum += error;
            self.error_max = worse(self.error_max, error);
        }
        self.error_count += reference.len().min(model.len()) as u64;
        if reference.len() != model.len() {
            self.error_max = f64::INFINITY;
        }
        if let Some(next) = next {
            let of = |logs: &[f64]| logs.get(next as usize).copied().unwrap_or(f64::NEG_INFINITY);
            self.reference_nll -= of(&p);
            self.model_nll -= of(&q);
            self.scored += 1;
        }
        if let Some(window) = self.kl.last_mut() {
            #[expect(clippy::cast_possible_truncation, reason = "for a plot")]
            window.push(if kl.is_finite() { kl as f32 } else { f32::MAX });
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of tokens")]
    pub(super) fn finish(self) -> Agreement {
        let positions = self.positions.max(1) as f64;
        let perplexity = |nll: f64| (self.scored > 0).then(|| finite((nll / self.scored as f64).exp()));
        Agreement {
            positions: self.positions,
            kl_mean: finite(self.kl_sum / positions),
            kl_max: finite(self.kl_max),
            top1: self.same_best as f64 / positions,
            logit_error_max: finite(self.error_max),
            logit_error_mean: finite(self.error_sum / self.error_count.max(1) as f64),
            perplexity_reference: perplexity(self.reference_nll),
            perplexity_model: perplexity(self.model_nll),
            kl: self.kl,
        }
    }
}

/// Negative log-likelihood of `next` under `logits`.
pub(super) fn negative_log_likelihood(logits: &[f32], next: u32) -> f64 {
    -log_softmax(logits).get(next as usize).copied().unwrap_or(f64::NEG_INFINITY)
}

/// JSON has no infinity and no NaN; the largest number fails every check.
pub(super) fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::MAX }
}

/// The larger of two; what is not a number counts as infinite.
fn worse(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn best(logits: &[f32]) -> u32 {
    crate::session::argmax(logits)
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    let shift = largest + sum.ln();
    logits.iter().map(|logit| f64::from(*logit) - shift).collect()
}

/// Kullback-Leibler divergence of `q` from `p`, both logarithms of probabilities, in nats.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let term = |(p, q): (&f64, &f64)| if *p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) };
    let sum: f64 = p.iter().zip(q).map(term).sum();
    // Rounding may leave a little less than nothing.
    if sum < 0.0 { 0.0 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(reference: &[f32], model: &[f32]) -> Agreement {
        let mut comparison = Comparison::default();
        comparison.begin_window();
        comparison.add(reference, model, Some(0));
        comparison.finish()
    }

    #[test]
    fn equal_logits_agree_whatever_their_offset() {
        let agreement = compare(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]);
        assert!(agreement.kl_mean < 1e-15);
        assert_eq!(agreement.top1, 1.0);
        assert_eq!(agreement.logit_error_max, 10.0);
        assert_eq!(agreement.perplexity_model, agreement.perplexity_reference);
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let probabilities = |p: f64| [p.ln() as f32, (1.0 - p).ln() as f32];
        let agreement = compare(&probabilities(0.75), &probabilities(0.5));
        let expected = 0.75 * (0.75_f64 / 0.5).ln() + 0.25 * (0.25_f64 / 0.5).ln();
        assert!((agreement.kl_mean - expected).abs() < 1e-7);
        assert!((agreement.perplexity_model.expect("scored") - 2.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_a_number_is_the_worst() {
        let agreement = compare(&[1.0, 2.0], &[f32::NAN, 2.0]);
        assert_eq!(agreement.logit_error_max, f64::MAX);
        assert_eq!(agreement.kl_mean, f64::MAX);
        assert_eq!(compare(&[1.0, 2.0], &[1.0]).logit_error_max, f64::MAX);
    }
}
