//! Forward passes of a checkpoint with some of its weights replaced, and how far they differ from its own.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::buffers::Buffers;
use super::engine::{Tokens, embed};
use super::error::CalibrateError;
use super::forward::{rms_norm_in_place, soften};
use super::settings::TensorRows;
use super::shape::{LayerShape, Rotations};
use super::weights::{LayerWeights, Windows, matrix_rows, norm_weight, whole};
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::product::project;
use crate::source::checkpoint::Checkpoint;

/// How a model with other weights differs from the checkpoint on some tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    /// Positions that were compared.
    pub positions: usize,
    /// Mean Kullback-Leibler divergence from the checkpoint's next-token distribution, in nats.
    pub kl: f64,
    /// Perplexity of the checkpoint.
    pub reference_perplexity: f64,
    /// Perplexity of the model.
    pub perplexity: f64,
    /// Part of the positions where both have the same best token.
    pub same_best: f64,
}

/// Weights, by tensor, that are used in place of the checkpoint's.
pub type Replaced = BTreeMap<TensorRows, Vec<f32>>;

/// Hidden states after the last norm, `[tokens, hidden]`.
///
/// # Errors
/// The checkpoint cannot be read, or a token is outside of its vocabulary.
pub fn hidden(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    replaced: &Replaced,
    tokens: &Tokens,
) -> Result<Vec<f32>, CalibrateError> {
    let rotations = Rotations::of(plan, tokens.length);
    let buffers = Buffers::default();
    let windows = Windows { rotations: &rotations, length: tokens.length, buffers: &buffers };
    let mut residual = embed(checkpoint, plan, &tokens.tokens)?;
    for layer in 0..plan.num_hidden_layers {
        let shape = LayerShape::of(plan, layer);
        let mut weights = LayerWeights::read(checkpoint, plan, layer)?;
        for projection in weights.projections() {
            if let Some(other) = replaced.get(&TensorRows::of(&projection.rows)) {
                projection.weight.clone_from(other);
            }
        }
        weights.pass(&mut residual, &shape, &windows, |_, _| ());
    }
    let norm = norm_weight(checkpoint, plan, &WeightPath::NORM, plan.hidden_size)?;
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
    rms_norm_in_place(&mut residual, &norm, plan.rms_norm_eps as f32);
    Ok(residual)
}

/// The logits of hidden states after the last norm.
#[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
pub(super) fn finish_logits(plan: &DecoderPlan, logits: &mut [f32]) {
    let scale = plan.logit_scale as f32;
    if scale.total_cmp(&1.0).is_ne() {
        for logit in &mut *logits {
            *logit *= scale;
        }
    }
    soften(logits, plan.logit_softcap.map(|cap| cap as f32));
}

/// Compares logits of both, window by window. The last position of a window has no next token, but a distribution.
///
/// # Errors
/// The checkpoint cannot be read.
pub fn divergence(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    replaced: &Replaced,
    tokens: &Tokens,
    reference: &[f32],
    model: &[f32],
) -> Result<Divergence, CalibrateError> {
    let rows = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
    let head = whole(checkpoint, &rows)?;
    let own = replaced.get(&TensorRows::of(&rows)).unwrap_or(&head);
    let (hidden, vocab) = (plan.hidden_size, plan.vocab_size);
    let mut total = [0.0_f64; 4];
    let (mut positions, mut scored) = (0, 0);
    let windows = reference.chunks(tokens.length * hidden).zip(model.chunks(tokens.length * hidden));
    for ((reference, model), ids) in windows.zip(tokens.tokens.chunks(tokens.length)) {
        let mut a = project(reference, &head, None, hidden);
        let mut b = project(model, own, None, hidden);
        finish_logits(plan, &mut a);
        finish_logits(plan, &mut b);
        let rows: Vec<[f64; 4]> = a
            .par_chunks(vocab)
            .zip(b.par_chunks(vocab))
            .enumerate()
            .map(|(at, (a, b))| compare(a, b, ids.get(at + 1).and_then(|id| usize::try_from(*id).ok())))
            .collect();
        positions += rows.len();
        scored += rows.len().saturating_sub(1);
        for row in rows {
            total.iter_mut().zip(row).for_each(|(total, value)| *total += value);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let (count, scored) = (positions.max(1) as f64, scored.max(1) as f64);
    let [kl, a, b, best] = total;
    Ok(Divergence {
        positions,
        kl: kl / count,
        reference_perplexity: (a / scored).exp(),
        perplexity: (b / scored).exp(),
        same_best: best / count,
    })
}

/// Divergence, both negative log-likelihoods of the next token, and whether the best token is the same.
fn compare(a: &[f32], b: &[f32], next: Option<usize>) -> [f64; 4] {
    let (a_norm, a_best) = log_sum(a);
    let (b_norm, b_best) = log_sum(b);
    let kl = kullback_leibler(a, a_norm, b, b_norm);
    let loss = |logits: &[f32], norm: f64| {
        next.and_then(|next| logits.get(next)).map_or(0.0, |logit| norm - f64::from(*logit))
    };
    [kl, loss(a, a_norm), loss(b, b_norm), f64::from(u8::from(a_best == b_best))]
}

/// The Kullback-Leibler divergence of one token's logits `b` from `a`, in nats.
pub(super) fn divergence_of(a: &[f32], b: &[f32]) -> f64 {
    kullback_leibler(a, log_sum(a).0, b, log_sum(b).0)
}

fn kullback_leibler(a: &[f32], a_norm: f64, b: &[f32], b_norm: f64) -> f64 {
    let terms = a.iter().zip(b).map(|(a, b)| {
        let (log_a, log_b) = (f64::from(*a) - a_norm, f64::from(*b) - b_norm);
        log_a.exp() * (log_a - log_b)
    });
    terms.sum()
}

fn log_sum(logits: &[f32]) -> (f64, usize) {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    let most = logits.get(best).map_or(0.0, |logit| f64::from(*logit));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    (most + sum.ln(), best)
}
