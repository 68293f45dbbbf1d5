//! The LM head: where the gradient comes from, and what its own precision costs, measured at the logits.

use anec_runtime::sampling::{Sampler, SamplingOptions};
use anec_runtime::session::Output;
use rayon::prelude::*;

use super::Choice;
use super::cost::{Stage, palette_shape, stored_bits};
use crate::calibrate::error::CalibrateError;
use crate::calibrate::evaluate::{divergence_of, finish_logits};
use crate::calibrate::layer::calibrated;
use crate::calibrate::product::{multiply, project};
use crate::calibrate::settings::Strength;
use crate::calibrate::weights::whole;
use crate::model::decoder_plan::DecoderPlan;
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

/// The head's weight, `[vocabulary, hidden]`.
pub(super) struct Head<'a> {
    plan: &'a DecoderPlan,
    rows: &'a Rows,
    weight: Vec<f32>,
}

impl<'a> Head<'a> {
    pub(super) fn read(
        checkpoint: &Checkpoint,
        plan: &'a DecoderPlan,
        rows: &'a Rows,
    ) -> Result<Self, CalibrateError> {
        Ok(Self { plan, rows, weight: whole(checkpoint, rows)? })
    }

    /// The gradient, at `x: [tokens, hidden]`, of each token's loss where labels are what the checkpoint would choose.
    pub(super) fn gradient(
        &self,
        x: &[f32],
        length: usize,
        proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
    ) -> Result<Vec<f32>, CalibrateError> {
        let (hidden, vocab) = (self.plan.hidden_size, self.plan.vocab_size);
        let mut gradient = Vec::with_capacity(x.len());
        for (piece, x) in x.chunks(AT_ONCE * hidden).enumerate() {
            proceed()?;
            let mut logits = project(x, &self.weight, None, hidden);
            finish_logits(self.plan, &mut logits);
            logits.par_chunks_mut(vocab).enumerate().try_for_each(|(at, logits)| {
                let token = piece * AT_ONCE + at;
                let failed = |source| CalibrateError::Generate { position: token % length, source };
                let options = SamplingOptions { temperature: 1.0, top_k: LABELS, seed: token as u64, ..SamplingOptions::default() };
                let mut sampler = Sampler::new(options).map_err(failed)?;
                let label = sampler.choose(&Output::Logits(logits.to_vec()), &[]).map_err(failed)?;
                self.to_gradient(logits, usize::try_from(label).unwrap_or(usize::MAX));
                Ok::<(), CalibrateError>(())
            })?;
            gradient.extend(multiply(&logits, &self.weight, vocab));
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

    /// What the candidates cost; infinitely much where the head cannot be stored so.
    pub(super) fn choices(
        &self,
        x: &[f32],
        stage: &Stage,
        candidates: &[Storage],
        strength: Strength,
        proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
    ) -> Result<Vec<Choice>, CalibrateError> {
        let hidden = self.plan.hidden_size;
        let tokens = x.len() / hidden;
        let count = COMPARED.min(tokens);
        let chosen: Vec<f32> = (0..count)
            .flat_map(|index| {
                let at = index * tokens / count * hidden;
                x[at..at + hidden].iter().copied()
            })
            .collect();
        let mut choices = Vec::with_capacity(candidates.len());
        for storage in candidates {
            proceed()?;
            let Some(bits) = stored_bits(self.rows, storage) else {
                choices.push(Choice { storage: storage.clone(), bits: u64::MAX, divergence: f64::INFINITY });
                continue;
            };
            let divergence = match self.stored(stage, storage, strength)? {
                None => 0.0,
                Some(weight) => self.divergence(&chosen, &weight),
            };
            choices.push(Choice { storage: storage.clone(), bits, divergence });
        }
        Ok(choices)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn divergence(&self, x: &[f32], weight: &[f32]) -> f64 {
        let (hidden, vocab) = (self.plan.hidden_size, self.plan.vocab_size);
        let mut sum = 0.0;
        for x in x.chunks(AT_ONCE * hidden) {
            let mut pair = [&self.weight[..], weight].map(|weight| project(x, weight, None, hidden));
            pair.iter_mut().for_each(|logits| finish_logits(self.plan, logits));
            let [own, other] = &pair;
            let each: Vec<f64> =
                own.par_chunks(vocab).zip(other.par_chunks(vocab)).map(|(own, other)| divergence_of(own, other)).collect();
            sum += each.iter().sum::<f64>();
        }
        sum / (x.len() / hidden).max(1) as f64
    }

    /// The weight as it is stored; none where nothing is lost.
    fn stored(
        &self,
        stage: &Stage,
        storage: &Storage,
        strength: Strength,
    ) -> Result<Option<Vec<f32>>, CalibrateError> {
        let failed = |source| CalibrateError::Weight { tensor: self.rows.tensor.clone(), source };
        let (hidden, vocab) = (self.plan.hidden_size, self.plan.vocab_size);
        let mut weights = Vec::with_capacity(self.weight.len());
        if let Some(shape) = palette_shape(storage, vocab) {
            let piece = (ROWS / shape.group_rows).max(1) * shape.group_rows * hidden;
            for weight in self.weight.chunks(piece) {
                let part = calibrated(self.rows, weight, shape, &stage.factor, strength).map_err(failed)?;
                weights.extend(part.weights());
            }
        } else if storage.quantized_bits().is_some() {
            let narrow: Vec<half::f16> = self.weight.iter().map(|weight| half::f16::from_f32(*weight)).collect();
            let rounded = anec_quantize::quantize_rows_int8(&narrow, hidden).map_err(|error| failed(error.into()))?;
            for (row, scale) in rounded.data.chunks_exact(hidden).zip(&rounded.scales) {
                let scale = scale.to_f32();
                weights.extend(row.iter().map(|integer| f32::from(*integer) * scale));
            }
        } else {
            return Ok(None);
        }
        Ok(Some(weights))
    }
}
