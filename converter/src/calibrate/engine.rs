//! All layers, one after the other, and the head.

use std::ops::Range;

use super::buffers::Buffers;
use super::error::CalibrateError;
use super::head::Head;
use super::layer::{Context, Residual, calibrate_layer};
use super::result::CalibratedTensor;
use super::settings::{PaletteShape, Palettes, Strength, TensorRows};
use super::shape::{LayerShape, Rotations};
use super::weights::{LayerWeights, Windows, matrix_rows};
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::output::emit::read::read;
use crate::source::checkpoint::Checkpoint;
use crate::weights::rows::Rows;
use crate::weights::transform::Transform;

/// Windows of tokens, all of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens of a window.
    pub length: usize,
    /// All windows, one after the other.
    pub tokens: Vec<u32>,
}

/// How far a calibration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Layers that are done; the head counts as one.
    pub done: usize,
    /// Layers there are.
    pub total: usize,
}

/// A calibration that is under way.
pub struct Calibrator<'a> {
    checkpoint: &'a Checkpoint,
    plan: &'a DecoderPlan,
    palettes: &'a Palettes,
    strength: Strength,
    length: usize,
    rotations: Rotations,
    buffers: Buffers,
    residual: Residual,
    layer: usize,
}

impl<'a> Calibrator<'a> {
    /// Starts: looks the tokens up in the embeddings.
    ///
    /// # Errors
    /// A token is outside of the vocabulary, or the checkpoint cannot be read.
    pub fn new(
        checkpoint: &'a Checkpoint,
        plan: &'a DecoderPlan,
        palettes: &'a Palettes,
        strength: Strength,
        tokens: &Tokens,
    ) -> Result<Self, CalibrateError> {
        let embeddings = embed(checkpoint, plan, &tokens.tokens)?;
        let leans = strength.inputs > 0.0 || strength.residual > 0.0;
        let residual = Residual { reference: leans.then(|| embeddings.clone()), quantized: embeddings };
        let rotations = Rotations::of(plan, tokens.length);
        Ok(Self {
            checkpoint,
            plan,
            palettes,
            strength,
            length: tokens.length,
            rotations,
            buffers: Buffers::default(),
            residual,
            layer: 0,
        })
    }

    /// Goes on after so many layers, with the residual stream that they left.
    pub(super) fn go_on(&mut self, layers: usize, residual: Residual) {
        (self.layer, self.residual) = (layers, residual);
    }

    /// Layers that are done.
    pub(super) fn layers_done(&self) -> usize {
        self.layer
    }

    /// The residual stream after the layers that are done.
    pub(super) fn residual(&self) -> &Residual {
        &self.residual
    }

    /// Quantizes the next layer; none after the last.
    ///
    /// # Errors
    /// An activation is not finite, the checkpoint cannot be read, or `proceed` fails.
    pub fn next_layer(
        &mut self,
        proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
    ) -> Result<Option<Vec<CalibratedTensor>>, CalibrateError> {
        if self.layer >= self.plan.num_hidden_layers {
            return Ok(None);
        }
        let mut weights = LayerWeights::read(self.checkpoint, self.plan, self.layer)?;
        let shape = LayerShape::of(self.plan, self.layer);
        let context = Context {
            palettes: self.palettes,
            strength: self.strength,
            windows: Windows { rotations: &self.rotations, length: self.length, buffers: &self.buffers },
            proceed,
        };
        let results = calibrate_layer(self.layer, &shape, &mut weights, &mut self.residual, &context)?;
        self.layer += 1;
        if self.layer == self.plan.num_hidden_layers {
            // The head has use for none of it.
            self.buffers = Buffers::default();
        }
        Ok(Some(results))
    }

    /// Quantizes the head by what the last layer gives, in the parts that have palettes of their own; none where it has no
    /// palettes.
    ///
    /// # Errors
    /// As [`next_layer`](Self::next_layer).
    pub fn head(
        &self,
        proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
    ) -> Result<Vec<CalibratedTensor>, CalibrateError> {
        let Self { checkpoint, plan, strength, length, .. } = *self;
        Head { checkpoint, plan, strength, length, proceed }.quantize(self.palettes, &self.residual)
    }
}

/// The parts of a weight that have palettes, in order.
pub(super) fn parts_of(palettes: &Palettes, rows: &Rows) -> Vec<(Rows, PaletteShape)> {
    let Range { start, end } = rows.rows.clone();
    let within = |key: &TensorRows| key.tensor == rows.tensor && key.first >= start && key.end <= end;
    let parts = palettes.iter().filter(|(key, _)| within(key));
    parts.map(|(key, shape)| (rows.with_rows(&(key.first - start..key.end - start)), *shape)).collect()
}

/// The embeddings of tokens, `[tokens, hidden]`.
pub(super) fn embed(checkpoint: &Checkpoint, plan: &DecoderPlan, tokens: &[u32]) -> Result<Vec<f32>, CalibrateError> {
    let mut rows = matrix_rows(plan, &WeightPath::EMBED_TOKENS, [plan.vocab_size, plan.hidden_size]);
    if plan.embedding_scale.total_cmp(&1.0).is_ne() {
        rows.transforms.push(Transform::scale(plan.embedding_scale));
    }
    let mut embeddings = Vec::with_capacity(tokens.len() * plan.hidden_size);
    let mut row = Vec::new();
    for token in tokens {
        let at = u64::from(*token);
        if at >= plan.vocab_size as u64 {
            return Err(CalibrateError::Token { token: *token, vocab_size: plan.vocab_size });
        }
        read(checkpoint, &rows, &(at..at + 1), &mut row)?;
        embeddings.extend(row.iter().map(|value| value.to_f32()));
    }
    // The system maps pages around those of a row, so that rows from all over would leave the whole table in memory.
    checkpoint.release(&rows.tensor);
    Ok(embeddings)
}
