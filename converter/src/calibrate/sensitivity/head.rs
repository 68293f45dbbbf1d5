//! The LM head: where the gradient comes from, and what its own precision costs, measured at the logits.

use std::ops::Range;

use anec_quantize::compensate::Factor;
use anec_runtime::sampling::{Sampler, SamplingOptions};
use anec_runtime::session::Output;
use rayon::prelude::*;

use super::Choice;
use super::cost::{palette_shape, rounded, stored_bits};
use crate::calibrate::error::CalibrateError;
use crate::calibrate::evaluate::{divergence_of, finish_logits};
use crate::calibrate::head::{spread, token_counts};
use crate::calibrate::layer::calibrated;
use crate::calibrate::settings::Strength;
use crate::calibrate::weights::whole;
use crate::model::decoder_plan::DecoderPlan;
use crate::product::{multiply, project};
use crate::source::checkpoint::Checkpoint;
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;

/// Tokens that a label is chosen from.
const LABELS: usize = 512;

/// Tokens whose logits are compared, from all over.
const COMPARED: usize = 512;

/// Tokens whose logits are in memory at a time.
const AT_ONCE: usize = 128;

/// Rows that are quantized at a time.
const ROWS: usize = 1 << 14;

/// The head.
pub(super) struct Head<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) plan: &'a DecoderPlan,
    /// Its weight, `[vocabulary, hidden]`.
    pub(super) rows: &'a Rows,
    /// Called now and then; its error ends the work.
    pub(super) proceed: &'a (dyn Fn() -> Result<(), CalibrateError> + Sync),
}

impl Head<'_> {
    /// The gradient, at `x: [tokens, hidden]`, of each token's loss where labels are what the checkpoint would choose.
    pub(super) fn gradient(&self, x: &[f32], length: usize) -> Result<Vec<f32>, CalibrateError> {
        let (hidden, vocab) = (self.plan.hidden_size, self.plan.vocab_size);
        let weight = whole(self.checkpoint, self.rows)?;
        let mut gradient = Vec::with_capacity(x.len());
        for (piece, x) in x.chunks(AT_ONCE * hidden).enumerate() {
            (self.proceed)()?;
            let mut logits = project(x, &weight, None, hidden);
            finish_logits(self.plan, &mut logits);
            logits.par_chunks_mut(vocab).enumerate().try_for_each(|(at, logits)| {
                let token = piece * AT_ONCE + at;
                let failed = |source| CalibrateError::Generate { position: token % length, source };
                let options = SamplingOptions {
                    temperature: 1.0,
                    top_k: LABELS,
                    seed: token as u64,
                    ..SamplingOptions::default()
                };
                let mut sampler = Sampler::new(options).map_err(failed)?;
                let label = sampler.choose(&Output::Logits(logits.to_vec()), &[]).map_err(failed)?;
                self.to_gradient(logits, usize::try_from(label).unwrap_or(usize::MAX));
                Ok::<(), CalibrateError>(())
            })?;
            gradient.extend(multiply(&logits, &weight, vocab));
        }
        Ok(gradient)
    }

    /// Makes of finished logits the gradient of the loss at what the head's projection gave.
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
    fn to_gradient(&self, logits: &mut [f32], label: usize) {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from((logit - most).exp())).sum();
        let (cap, scale) = (self.plan.logit_softcap.map(|cap| cap as f32), self.plan.logit_scale as f32);
        for (token, logit) in logits.iter_mut().enumerate() {
            let slope = cap.map_or(1.0, |cap| 1.0 - (*logit / cap) * (*logit / cap)) * scale;
            let chance = (f64::from((*logit - most).exp()) / sum) as f32;
            *logit = (chance - if token == label { 1.0 } else { 0.0 }) * slope;
        }
    }

    /// What the candidates cost, fitted to some tokens and measured at the logits of others; infinitely much where the head
    /// cannot be stored so.
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    pub(super) fn choices(
        &self,
        [fitted, x]: [&[f32]; 2],
        factor: &Factor,
        candidates: &[Storage],
        strength: Strength,
    ) -> Result<Vec<Choice>, CalibrateError> {
        let (hidden, vocab) = (self.plan.hidden_size, self.plan.vocab_size);
        let x = spread(x, hidden, COMPARED);
        let count = x.len() / hidden;
        let own = self.logits(&x, 1, |weight, _| Ok(weight))?;
        let counts = token_counts(self.checkpoint, self.plan, self.rows, fitted, self.proceed)?;
        let mut choices = Vec::with_capacity(candidates.len());
        for storage in candidates {
            let bits = stored_bits(self.rows, storage);
            let divergence = match bits {
                None => f64::INFINITY,
                Some(_) if storage.quantized_bits().is_none() => 0.0,
                Some(_) => {
                    let group_rows = palette_shape(storage, vocab).map_or(1, |shape| shape.group_rows);
                    let stored = |weight: Vec<f32>, rows: Range<usize>| {
                        self.stored(&weight, counts.get(rows), factor, storage, strength)
                    };
                    let other = self.logits(&x, group_rows, stored)?;
                    let pairs = own.par_chunks(vocab).zip(other.par_chunks(vocab));
                    let each: Vec<f64> = pairs.map(|(own, other)| divergence_of(own, other)).collect();
                    each.iter().sum::<f64>() / count.max(1) as f64
                }
            };
            choices.push(Choice { storage: storage.clone(), bits: bits.unwrap_or(u64::MAX), divergence });
        }
        Ok(choices)
    }

    /// Logits of `x` with what is made of the weight, which is read in blocks of whole groups.
    fn logits(
        &self,
        x: &[f32],
        group_rows: usize,
        made: impl Fn(Vec<f32>, Range<usize>) -> Result<Vec<f32>, CalibrateError>,
    ) -> Result<Vec<f32>, CalibrateError> {
        let (hidden, vocab) = (self.plan.hidden_size, self.plan.vocab_size);
        let step = (ROWS / group_rows).max(1) * group_rows;
        let mut logits = vec![0.0; x.len() / hidden * vocab];
        for start in (0..vocab).step_by(step) {
            (self.proceed)()?;
            let end = (start + step).min(vocab);
            let rows = self.rows.with_rows(&(start as u64..end as u64));
            let part = project(x, &made(whole(self.checkpoint, &rows)?, start..end)?, None, hidden);
            for (logits, part) in logits.chunks_exact_mut(vocab).zip(part.chunks_exact(end - start)) {
                logits[start..end].copy_from_slice(part);
            }
        }
        finish_logits(self.plan, &mut logits);
        Ok(logits)
    }

    /// Rows as they are stored.
    fn stored(
        &self,
        weight: &[f32],
        counts: Option<&[f32]>,
        factor: &Factor,
        storage: &Storage,
        strength: Strength,
    ) -> Result<Vec<f32>, CalibrateError> {
        let failed = |source| CalibrateError::Weight { tensor: self.rows.tensor.clone(), source };
        let hidden = self.plan.hidden_size;
        if let Some(shape) = palette_shape(storage, self.plan.vocab_size) {
            return Ok(calibrated(self.rows, weight, counts, shape, factor, strength).map_err(failed)?.weights());
        }
        rounded(weight, hidden).map_err(|error| failed(error.into()))
    }
}
