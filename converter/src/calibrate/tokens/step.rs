//! One token of each of many sequences through a checkpoint.
//!
//! Each step multiplies all weights by few tokens, so what it costs is reading them: they are kept in fp16, and made f32 a piece
//! at a time.

use anec_quantize::product::{Accum, MatMut, MatRef, matmul};
use anec_quantize::widen_all;
use half::f16;
use rayon::prelude::*;
use rten_simd::SimdOp as _;
use rten_vecmath::Softmax;

use crate::calibrate::buffers::Buffers;
use crate::calibrate::error::CalibrateError;
use crate::calibrate::evaluate::finish_logits;
use crate::calibrate::forward::{add_scaled_here, gated, rms_norm, rotate_at, soften};
use crate::calibrate::shape::{LayerShape, Rotations};
use crate::calibrate::weights::{Branch, LayerWeights, give_back, matrix_rows, norm_weight};
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::output::emit::read::read;
use crate::source::checkpoint::Checkpoint;
use crate::weights::rows::Rows;

/// Bytes of weights in fp16 that are kept; of larger checkpoints, each step reads them again.
pub(in crate::calibrate) const KEPT_BYTES: usize = 5 << 29;

/// Weights that are made f32 at a time, and the most rows of them.
const PIECE: usize = 1 << 16;
const PIECE_ROWS: usize = 64;

/// Parameters of the layers and the head.
pub(in crate::calibrate) fn parameters(plan: &DecoderPlan) -> usize {
    let hidden = plan.hidden_size;
    let layer = 2 * hidden * (plan.q_size() + plan.kv_size()) + 3 * hidden * plan.intermediate_size;
    plan.num_hidden_layers * layer + plan.vocab_size * hidden
}

/// Keys or values of one layer, of one sequence: `[positions, kv_size]`.
pub(super) type Cache = Vec<f32>;

/// A matrix in the checkpoint, `[outputs, inputs]`.
pub(super) struct Matrix {
    rows: Rows,
    bias: Option<Vec<f32>>,
    inputs: usize,
    /// Its pieces, where they are kept: rows of one after the other, each `[inputs, rows]`, as products read them.
    kept: Option<Vec<f16>>,
}

impl Matrix {
    fn new(rows: Rows, bias: Option<Vec<f32>>, inputs: usize) -> Self {
        Self { rows, bias, inputs, kept: None }
    }

    fn outputs(&self) -> usize {
        usize::try_from(self.rows.count()).unwrap_or(usize::MAX)
    }

    /// Rows of a piece.
    fn step(&self) -> usize {
        (PIECE / self.inputs).clamp(1, PIECE_ROWS)
    }

    fn keep(mut self, checkpoint: &Checkpoint) -> Result<Self, CalibrateError> {
        let (step, outputs, inputs) = (self.step(), self.outputs(), self.inputs);
        let mut kept = vec![f16::ZERO; outputs * inputs];
        kept.par_chunks_mut(step * inputs).enumerate().try_for_each_init(Vec::new, |narrow, (at, turned)| {
            let count = turned.len() / inputs;
            self.read(checkpoint, at * step, count, narrow)?;
            for (row, values) in narrow.chunks_exact(inputs).enumerate() {
                turned.iter_mut().skip(row).step_by(count).zip(values).for_each(|(place, value)| *place = *value);
            }
            Ok::<(), CalibrateError>(())
        })?;
        give_back(checkpoint, &self.rows);
        self.kept = Some(kept);
        Ok(self)
    }

    fn read(
        &self,
        checkpoint: &Checkpoint,
        first: usize,
        count: usize,
        narrow: &mut Vec<f16>,
    ) -> Result<(), CalibrateError> {
        let start = self.rows.rows.start + first as u64;
        Ok(read(checkpoint, &self.rows, &(start..start + count as u64), narrow)?)
    }

    /// Some rows, as `[inputs, count]`.
    fn piece<'s>(
        &self,
        checkpoint: &Checkpoint,
        first: usize,
        count: usize,
        Scratch { narrow, wide }: &'s mut Scratch,
    ) -> Result<MatRef<'s, f32>, CalibrateError> {
        if wide.len() < count * self.inputs {
            wide.resize(count * self.inputs, 0.0);
        }
        let wide = &mut wide[..count * self.inputs];
        if let Some(kept) = &self.kept {
            widen_all(&kept[first * self.inputs..][..wide.len()], wide);
            return Ok(MatRef::from_row_major_slice(wide, self.inputs, count));
        }
        self.read(checkpoint, first, count, narrow)?;
        widen_all(narrow, wide);
        Ok(MatRef::from_row_major_slice(wide, count, self.inputs).transpose())
    }
}

/// A checkpoint that is read through again and again.
pub(super) struct Model<'a> {
    checkpoint: &'a Checkpoint,
    plan: &'a DecoderPlan,
    pub(super) layers: Vec<LayerWeights<Matrix>>,
    norm: Vec<f32>,
    head: Matrix,
    buffers: Buffers,
}

impl<'a> Model<'a> {
    pub(super) fn open(checkpoint: &'a Checkpoint, plan: &'a DecoderPlan) -> Result<Self, CalibrateError> {
        Self::open_keeping(parameters(plan) <= KEPT_BYTES / size_of::<f16>(), checkpoint, plan)
    }

    /// Opens a checkpoint, and keeps its weights in memory or does not.
    fn open_keeping(keeps: bool, checkpoint: &'a Checkpoint, plan: &'a DecoderPlan) -> Result<Self, CalibrateError> {
        let matrix = |rows, bias, inputs| {
            let matrix = Matrix::new(rows, bias, inputs);
            if keeps { matrix.keep(checkpoint) } else { Ok(matrix) }
        };
        let layers = 0..plan.num_hidden_layers;
        let head = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
        Ok(Self {
            checkpoint,
            plan,
            layers: layers
                .map(|layer| LayerWeights::read_with(checkpoint, plan, layer, matrix))
                .collect::<Result<_, _>>()?,
            norm: norm_weight(checkpoint, plan, &WeightPath::NORM, plan.hidden_size)?,
            head: matrix(head, None, plan.hidden_size)?,
            buffers: Buffers::default(),
        })
    }

    /// Takes one token of each sequence through a layer.
    pub(super) fn step(
        &self,
        weights: &LayerWeights<Matrix>,
        shape: &LayerShape,
        residual: &mut [f32],
        caches: &mut [&mut [Cache; 2]],
        position: usize,
        rotations: &Rotations,
    ) -> Result<(), CalibrateError> {
        let (q_size, kv_size) = (shape.q_size(), shape.kv_size());
        let x = weights.enter(Branch::Attention, residual, shape, &self.buffers);
        let [mut q, mut k, v] = self.multiply([&weights.q, &weights.k, &weights.v], &x)?;
        weights.norm_heads(&mut q, &mut k, shape);
        if let Some(rotation) = rotations.get(shape) {
            q.chunks_exact_mut(q_size).for_each(|row| rotate_at(row, shape.head_dim, position, rotation));
            k.chunks_exact_mut(kv_size).for_each(|row| rotate_at(row, shape.head_dim, position, rotation));
        }
        let mut attended = vec![0.0; q.len()];
        let rows = attended.par_chunks_mut(q_size).zip(q.par_chunks(q_size));
        let rows = rows.zip(k.par_chunks(kv_size).zip(v.par_chunks(kv_size))).zip(caches.par_iter_mut());
        rows.for_each(|(((out, q), (k, v)), [keys, values])| {
            keys.extend_from_slice(k);
            values.extend_from_slice(v);
            attend(q, keys, values, shape, out);
        });
        let [made] = self.multiply([&weights.o], &attended)?;
        weights.leave(Branch::Attention, made, residual, shape);
        let x = weights.enter(Branch::Mlp, residual, shape, &self.buffers);
        let [mut gate, up] = self.multiply([&weights.gate, &weights.up], &x)?;
        gated(&mut gate, &up, shape.activation);
        let [made] = self.multiply([&weights.down], &gate)?;
        weights.leave(Branch::Mlp, made, residual, shape);
        Ok(())
    }

    /// Logits of tokens behind the last layer: `[tokens, vocabulary]`.
    pub(super) fn logits(&self, residual: &[f32]) -> Result<Vec<f32>, CalibrateError> {
        #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
        let x = rms_norm(residual, &self.norm, self.plan.rms_norm_eps as f32);
        let [mut logits] = self.multiply([&self.head], &x)?;
        finish_logits(self.plan, &mut logits);
        Ok(logits)
    }

    /// What some matrices make of the same tokens.
    ///
    /// # Shapes
    /// `x: [tokens, inputs]`; each result `[tokens, outputs]`.
    fn multiply<const COUNT: usize>(
        &self,
        matrices: [&Matrix; COUNT],
        x: &[f32],
    ) -> Result<[Vec<f32>; COUNT], CalibrateError> {
        let tokens = x.len() / matrices.first().map_or(1, |matrix| matrix.inputs);
        let mut results = matrices.map(|matrix| vec![0.0; tokens * matrix.outputs()]);
        let mut pieces = Vec::new();
        for (result, matrix) in results.iter_mut().zip(matrices) {
            let mut rest = MatMut::from_row_major_slice_mut(result, tokens, matrix.outputs());
            for first in (0..matrix.outputs()).step_by(matrix.step()) {
                let count = matrix.step().min(rest.ncols());
                let (piece, after) = rest.split_at_col_mut(count);
                pieces.push((matrix, first, piece));
                rest = after;
            }
        }
        pieces.into_par_iter().try_for_each_init(Scratch::default, |scratch, (matrix, first, result)| {
            let w = matrix.piece(self.checkpoint, first, result.ncols(), scratch)?;
            matmul(result, Accum::Replace, MatRef::from_row_major_slice(x, tokens, matrix.inputs), w, 1.0);
            Ok::<(), CalibrateError>(())
        })?;
        for (result, matrix) in results.iter_mut().zip(matrices) {
            if let Some(bias) = &matrix.bias {
                result.chunks_exact_mut(bias.len()).for_each(|row| add_scaled_here(row, bias, 1.0));
            }
        }
        Ok(results)
    }
}

/// A piece of a matrix, as it is read and as it is used.
#[derive(Default)]
struct Scratch {
    narrow: Vec<f16>,
    wide: Vec<f32>,
}

/// Attention of one token to all that are in the cache, itself included.
fn attend(q: &[f32], keys: &[f32], values: &[f32], shape: &LayerShape, out: &mut [f32]) {
    let (head_dim, kv_size) = (shape.head_dim, shape.kv_size());
    let positions = keys.len() / kv_size;
    let first = shape.window.map_or(0, |window| positions.saturating_sub(window));
    let group = shape.heads / shape.kv_heads;
    let seen = positions - first;
    let keys = MatRef::from_row_major_slice(keys, positions, kv_size).subrows(first, seen);
    let values = MatRef::from_row_major_slice(values, positions, kv_size).subrows(first, seen);
    let mut scores = vec![0.0; group * seen];
    let heads = q.chunks_exact(group * head_dim).zip(out.chunks_exact_mut(group * head_dim));
    for (head, (q, out)) in heads.enumerate() {
        let q = MatRef::from_row_major_slice(q, group, head_dim);
        let keys = keys.subcols(head * head_dim, head_dim);
        let products = MatMut::from_row_major_slice_mut(&mut scores, group, seen);
        matmul(products, Accum::Replace, q, keys.transpose(), shape.query_scale);
        soften(&mut scores, shape.softcap);
        for row in scores.chunks_exact_mut(seen) {
            Softmax::new_mut(row).dispatch();
        }
        let out = MatMut::from_row_major_slice_mut(out, group, head_dim);
        let scores = MatRef::from_row_major_slice(&scores, group, seen);
        matmul(out, Accum::Replace, scores, values.subcols(head * head_dim, head_dim), 1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::calibrate::engine::embed;
    use crate::model::arch::{self, ArchChoice};

    #[test]
    fn weights_that_are_kept_and_weights_that_are_read_again_give_the_same() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3");
        let checkpoint = Checkpoint::open(&directory).expect("a checkpoint");
        let plan = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]).expect("a plan");
        let rotations = Rotations::of(&plan, 2);
        let logits = |keeps: bool| {
            let model = Model::open_keeping(keeps, &checkpoint, &plan).expect("read");
            let mut caches = vec![vec![[Vec::new(), Vec::new()]; 3]; model.layers.len()];
            let mut logits = Vec::new();
            for (position, tokens) in [[1, 2, 3], [4, 5, 6]].into_iter().enumerate() {
                let mut residual = embed(&checkpoint, &plan, &tokens).expect("known tokens");
                for ((layer, weights), caches) in model.layers.iter().enumerate().zip(&mut caches) {
                    let shape = LayerShape::of(&plan, layer);
                    let mut caches: Vec<_> = caches.iter_mut().collect();
                    model.step(weights, &shape, &mut residual, &mut caches, position, &rotations).expect("a step");
                }
                logits = model.logits(&residual).expect("logits");
            }
            logits
        };
        let kept = logits(true);
        assert_eq!(kept.len(), 3 * plan.vocab_size);
        assert!(kept.iter().any(|logit| *logit != 0.0) && kept == logits(false));
    }
}
