//! The LM head: by what the last layer gives, and by how likely each token is.

use anec_quantize::compensate::{CompensateError, Factor};
use rayon::prelude::*;

use super::engine::parts_of;
use super::error::CalibrateError;
use super::evaluate::finish_logits;
use super::forward::{add_scaled, rms_norm};
use super::layer::{Residual, calibrated, check_finite};
use super::result::CalibratedTensor;
use super::settings::{PaletteShape, Palettes, Strength};
use super::weights::{matrix_rows, norm_weight, whole};
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::product::{copy, cross, gram, multiply, project};
use crate::source::checkpoint::Checkpoint;
use crate::weights::rows::Rows;

/// Rows that are quantized at a time: bounds memory, and is a multiple of every usual group.
const ROWS: usize = 1 << 14;

/// Tokens whose logits say how likely each token is.
pub(super) const LOOKED_AT: usize = 2048;

/// Columns of logits that one thread goes through at a time.
const COLUMNS: usize = 512;

/// What the head works on.
pub(super) struct Head<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) plan: &'a DecoderPlan,
    pub(super) strength: Strength,
    /// Tokens of a window.
    pub(super) length: usize,
    /// Called between blocks; its error ends the work.
    pub(super) proceed: &'a (dyn Fn() -> Result<(), CalibrateError> + Sync),
}

/// What all parts of the head share.
struct Known {
    factor: Factor,
    /// What moves rows to where the checkpoint's own last states would have led, `[hidden, hidden]`.
    towards: Option<Vec<f32>>,
    /// How much each row of the vocabulary counts.
    counts: Vec<f32>,
}

impl Head<'_> {
    /// The head's parts that have palettes of their own.
    pub(super) fn quantize(
        &self,
        palettes: &Palettes,
        residual: &Residual,
    ) -> Result<Vec<CalibratedTensor>, CalibrateError> {
        let Self { plan, length, .. } = *self;
        let rows = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
        let parts = parts_of(palettes, &rows);
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let norm = norm_weight(self.checkpoint, plan, &WeightPath::NORM, plan.hidden_size)?;
        #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
        let state = |residual: &[f32]| rms_norm(residual, &norm, plan.rms_norm_eps as f32);
        let x = state(&residual.quantized);
        check_finite(&x, plan.hidden_size, length, plan.num_hidden_layers, "norm")?;
        let h = gram(&x, None, plan.hidden_size);
        let leans = residual.reference.as_deref().filter(|reference| *reference != residual.quantized);
        let towards = match leans {
            Some(reference) if self.strength.head > 0.0 => Some(self.towards(&state(reference), &x, &h)?),
            _ => None,
        };
        let counts = token_counts(self.checkpoint, plan, &rows, &x, self.proceed)?;
        drop(x);
        let known = Known { factor: self.factor(&h, self.strength.damping)?, towards, counts };
        parts.into_iter().map(|(part, shape)| self.part(&rows, &part, shape, &known)).collect()
    }

    /// `a (mean(x_fp xᵀ) - H) (H + damping)⁻¹`, with the strength `a`: for the least squares of `W x_fp - W' x`, part of the way.
    fn towards(&self, reference: &[f32], x: &[f32], h: &[f32]) -> Result<Vec<f32>, CalibrateError> {
        let hidden = self.plan.hidden_size;
        let mut towards = cross(|elements, out| copy(reference, elements, out), x, None, [hidden, hidden]);
        #[expect(clippy::cast_possible_truncation, reason = "a strength")]
        let strength = self.strength.head as f32;
        towards.iter_mut().zip(h).for_each(|(c, h)| *c = strength * (*c - h));
        self.factor(h, self.strength.target_damping)?.solve_rows(&mut towards).map_err(|source| self.failed(source))?;
        Ok(towards)
    }

    fn factor(&self, h: &[f32], damping: f64) -> Result<Factor, CalibrateError> {
        Factor::new(h, self.plan.hidden_size, damping).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: CompensateError) -> CalibrateError {
        CalibrateError::Gram { layer: self.plan.num_hidden_layers, what: "norm", source }
    }

    fn part(
        &self,
        head: &Rows,
        part: &Rows,
        shape: PaletteShape,
        known: &Known,
    ) -> Result<CalibratedTensor, CalibrateError> {
        let hidden = self.plan.hidden_size;
        let step = ((ROWS / shape.group_rows).max(1) * shape.group_rows) as u64;
        let (first, count) = (part.rows.start - head.rows.start, part.count());
        let block = |start: u64| {
            (self.proceed)()?;
            let end = (start + step).min(count);
            let mut weight = whole(self.checkpoint, &part.with_rows(&(start..end)))?;
            if let Some(towards) = &known.towards {
                let moved = multiply(&weight, towards, hidden);
                add_scaled(&mut weight, &moved, 1.0);
            }
            let [from, to] = [first + start, first + end].map(|row| usize::try_from(row).unwrap_or(usize::MAX));
            let failed = |source| CalibrateError::Weight { tensor: part.tensor.clone(), source };
            calibrated(part, &weight, known.counts.get(from..to), shape, &known.factor, self.strength).map_err(failed)
        };
        let mut whole = block(0)?;
        for start in (step..count).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let CalibratedTensor { palettes, indices, .. } = block(start)?;
            whole.indices.extend(indices);
            whole.palettes.entries.extend(palettes.entries);
        }
        Ok(whole)
    }
}

/// At most so many of the tokens of `x: [tokens, channels]`, from all over.
pub(super) fn spread(x: &[f32], channels: usize, most: usize) -> Vec<f32> {
    let tokens = x.len() / channels;
    let count = most.min(tokens);
    let chosen = (0..count).filter_map(|index| x.chunks_exact(channels).nth(index * tokens / count));
    chosen.flatten().copied().collect()
}

/// How much an error of each token's logit counts, `[vocabulary]`: the mean of `p (1 - p)` over states `x: [tokens, hidden]`
/// that the head gets, the second derivative of the loss; one on average, and a little for tokens that were not met.
///
/// # Errors
/// The checkpoint cannot be read, or `proceed` fails.
pub(super) fn token_counts(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    rows: &Rows,
    x: &[f32],
    proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
) -> Result<Vec<f32>, CalibrateError> {
    let (hidden, vocab) = (plan.hidden_size, plan.vocab_size);
    let x = spread(x, hidden, LOOKED_AT);
    let count = x.len() / hidden;
    // The vocabulary is in memory a block at a time, so it is gone through twice: for the sums, then for the shares.
    let block = |start: usize| {
        proceed()?;
        let weight = whole(checkpoint, &rows.with_rows(&(start as u64..(start + ROWS).min(vocab) as u64)))?;
        let mut logits = project(&x, &weight, None, hidden);
        finish_logits(plan, &mut logits);
        Ok::<_, CalibrateError>((weight.len() / hidden, logits))
    };
    let mut sums = vec![(f32::NEG_INFINITY, 0.0_f64); count];
    for start in (0..vocab).step_by(ROWS) {
        let (columns, logits) = block(start)?;
        sums.par_iter_mut().zip(logits.par_chunks_exact(columns)).for_each(|((most, sum), logits)| {
            let now = logits.iter().copied().fold(*most, f32::max);
            let old = *sum * f64::from((*most - now).exp());
            *sum = old + logits.iter().map(|logit| f64::from((logit - now).exp())).sum::<f64>();
            *most = now;
        });
    }
    let mut counts = Vec::with_capacity(vocab);
    for start in (0..vocab).step_by(ROWS) {
        let (columns, logits) = block(start)?;
        let mut block = vec![0.0_f64; columns];
        block.par_chunks_mut(COLUMNS).enumerate().for_each(|(piece, counts)| {
            for ((most, sum), logits) in sums.iter().zip(logits.chunks_exact(columns)) {
                for (count, logit) in counts.iter_mut().zip(logits.iter().skip(piece * COLUMNS)) {
                    let chance = f64::from((logit - most).exp()) / sum;
                    *count += chance * (1.0 - chance);
                }
            }
        });
        counts.extend(block);
    }
    let total = counts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "counts and weights")]
    let counts = counts.iter().map(|count| (count / total * vocab as f64 + UNMET) as f32).collect();
    Ok(counts)
}

/// How much a token counts that no state makes likely, where one is the average.
const UNMET: f64 = 0.1;
