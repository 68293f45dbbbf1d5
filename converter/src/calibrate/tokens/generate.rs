//! Answers of the checkpoint itself: many prompts at once, one token of each at a time.
//!
//! All sequences are at the same position, so prompts need no padding: a sequence reads its prompt as long as it lasts, and
//! its own choices after that.

use std::borrow::Cow;

use anec_quantize::product::{Accum, MatMut, MatRef, matmul};
use anec_runtime::sampling::{Sampler, SamplingOptions};
use anec_runtime::session::Output;
use rayon::prelude::*;
use rten_simd::SimdOp as _;
use rten_vecmath::Softmax;

use crate::calibrate::engine::embed;
use crate::calibrate::error::CalibrateError;
use crate::calibrate::evaluate::finish_logits;
use crate::calibrate::forward::{gated, rms_norm, rotate_at, soften};
use crate::calibrate::shape::{LayerShape, Rotations};
use crate::calibrate::weights::{Branch, LayerWeights, Projection, matrix_rows, norm_weight, whole};
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::product::project_few;
use crate::source::checkpoint::Checkpoint;

/// Bytes of weights in f32 that are kept; of larger checkpoints, each step reads them again.
pub(in crate::calibrate) const KEPT_BYTES: usize = 1 << 30;

/// Tokens that are chosen from; the choice is that of the most likely ones with this share of the probability.
const TOP_K: usize = 256;
const TOP_P: f64 = 0.95;

/// What to generate.
pub(super) struct Request<'a> {
    /// Tokens of each prompt, the start of the answer included.
    pub(super) prompts: &'a [Vec<u32>],
    /// Tokens that end an answer.
    pub(super) stop: &'a [u32],
    /// Tokens of prompt and answer that no sequence exceeds.
    pub(super) longest: usize,
    /// Generation ends when all sequences together have as many tokens.
    pub(super) enough: usize,
    pub(super) seed: u64,
}

/// Parameters of the layers and the head.
pub(in crate::calibrate) fn parameters(plan: &DecoderPlan) -> usize {
    let hidden = plan.hidden_size;
    let layer = 2 * hidden * (plan.q_size() + plan.kv_size()) + 3 * hidden * plan.intermediate_size;
    plan.num_hidden_layers * layer + plan.vocab_size * hidden
}

/// Keys or values of one layer, of one sequence: `[positions, kv_size]`.
type Cache = Vec<f32>;

/// A sequence that is not finished.
struct Sequence {
    /// Its number among the prompts.
    number: usize,
    tokens: Vec<u32>,
    sampler: Sampler,
    /// Keys and values of each layer.
    caches: Vec<[Cache; 2]>,
}

/// The prompts with the answers that the checkpoint gives, in the order of the prompts.
pub(super) fn generate(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    request: &Request<'_>,
    proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
) -> Result<Vec<Vec<u32>>, CalibrateError> {
    let layers = plan.num_hidden_layers;
    let shapes: Vec<LayerShape> = (0..layers).map(|layer| LayerShape::of(plan, layer)).collect();
    let rotations = Rotations::of(plan, request.longest);
    let read = |layer| LayerWeights::read(checkpoint, plan, layer);
    let keeps = parameters(plan) <= KEPT_BYTES / size_of::<f32>();
    let kept: Vec<LayerWeights> = if keeps { (0..layers).map(read).collect::<Result<_, _>>()? } else { Vec::new() };
    let norm = norm_weight(checkpoint, plan, &WeightPath::NORM, plan.hidden_size)?;
    let head = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
    let kept_head = if keeps { Some(whole(checkpoint, &head)?) } else { None };
    let mut running = sequences(request, layers)?;
    let mut finished: Vec<Sequence> = Vec::new();
    for position in 0..request.longest.saturating_sub(1) {
        proceed()?;
        let inputs: Vec<u32> = running.iter().filter_map(|sequence| sequence.tokens.get(position)).copied().collect();
        let mut residual = embed(checkpoint, plan, &inputs)?;
        for (layer, shape) in shapes.iter().enumerate() {
            let weights = match kept.get(layer) {
                Some(weights) => Cow::Borrowed(weights),
                None => Cow::Owned(read(layer)?),
            };
            step(&weights, shape, &mut residual, &mut running, layer, position, &rotations);
        }
        // Only those that have read their prompts choose.
        let chooses: Vec<bool> = running.iter().map(|sequence| sequence.tokens.len() == position + 1).collect();
        let hidden: Vec<f32> = residual
            .chunks_exact(plan.hidden_size)
            .zip(&chooses)
            .filter(|(_, chooses)| **chooses)
            .flat_map(|(row, _)| row.iter().copied())
            .collect();
        if !hidden.is_empty() {
            #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
            let hidden = rms_norm(&hidden, &norm, plan.rms_norm_eps as f32);
            let head = match &kept_head {
                Some(head) => Cow::Borrowed(head),
                None => Cow::Owned(whole(checkpoint, &head)?),
            };
            let mut logits = project_few(&hidden, &head, None, plan.hidden_size);
            finish_logits(plan, &mut logits);
            let choosing: Vec<&mut Sequence> =
                running.iter_mut().filter(|sequence| sequence.tokens.len() == position + 1).collect();
            choosing.into_par_iter().zip(logits.par_chunks(plan.vocab_size)).try_for_each(|(sequence, logits)| {
                let token = sequence.sampler.choose(&Output::Logits(logits.to_vec()), &[]);
                sequence.tokens.push(token.map_err(|source| CalibrateError::Generate { position, source })?);
                Ok::<(), CalibrateError>(())
            })?;
        }
        let (going, ended): (Vec<_>, Vec<_>) = running.into_iter().partition(|sequence| {
            let answered = sequence.tokens.len() == position + 2;
            !(answered && sequence.tokens.last().is_some_and(|token| request.stop.contains(token)))
        });
        finished.extend(ended);
        running = going;
        let reached: usize = running.iter().map(|sequence| sequence.tokens.len().min(position + 2)).sum();
        let enough = finished.iter().map(|sequence| sequence.tokens.len()).sum::<usize>() + reached >= request.enough;
        if running.is_empty() || enough {
            break;
        }
    }
    finished.extend(running);
    finished.sort_by_key(|sequence| sequence.number);
    Ok(finished.into_iter().map(|sequence| sequence.tokens).collect())
}

fn sequences(request: &Request<'_>, layers: usize) -> Result<Vec<Sequence>, CalibrateError> {
    let start = |(number, prompt): (usize, &Vec<u32>)| {
        let seed = request.seed.wrapping_add(number as u64);
        let options = SamplingOptions { temperature: 1.0, top_k: TOP_K, top_p: TOP_P, repetition_penalty: 1.0, seed };
        let sampler = Sampler::new(options).map_err(|source| CalibrateError::Generate { position: 0, source })?;
        let caches = vec![[Vec::new(), Vec::new()]; layers];
        Ok(Sequence { number, tokens: prompt.clone(), sampler, caches })
    };
    let usable = |(_, prompt): &(usize, &Vec<u32>)| !prompt.is_empty() && prompt.len() < request.longest;
    request.prompts.iter().enumerate().filter(usable).map(start).collect()
}

/// Takes one token of each sequence through a layer.
fn step(
    weights: &LayerWeights,
    shape: &LayerShape,
    residual: &mut [f32],
    sequences: &mut [Sequence],
    layer: usize,
    position: usize,
    rotations: &Rotations,
) {
    let apply = |p: &Projection, x: &[f32]| project_few(x, &p.weight, p.bias.as_deref(), p.inputs);
    let (q_size, kv_size) = (shape.q_size(), shape.kv_size());
    let x = weights.enter(Branch::Attention, residual, shape);
    let [mut q, mut k, v] = [&weights.q, &weights.k, &weights.v].map(|p| apply(p, &x));
    weights.norm_heads(&mut q, &mut k, shape);
    if let Some(rotation) = rotations.get(shape) {
        q.chunks_exact_mut(q_size).for_each(|row| rotate_at(row, shape.head_dim, position, rotation));
        k.chunks_exact_mut(kv_size).for_each(|row| rotate_at(row, shape.head_dim, position, rotation));
    }
    let mut attended = vec![0.0; q.len()];
    let rows = attended.par_chunks_mut(q_size).zip(q.par_chunks(q_size));
    let rows = rows.zip(k.par_chunks(kv_size).zip(v.par_chunks(kv_size))).zip(sequences.par_iter_mut());
    rows.for_each(|(((out, q), (k, v)), sequence)| {
        if let Some([keys, values]) = sequence.caches.get_mut(layer) {
            keys.extend_from_slice(k);
            values.extend_from_slice(v);
            attend(q, keys, values, shape, out);
        }
    });
    weights.leave(Branch::Attention, apply(&weights.o, &attended), residual, shape);
    let x = weights.enter(Branch::Mlp, residual, shape);
    let mut gate = apply(&weights.gate, &x);
    gated(&mut gate, &apply(&weights.up, &x), shape.activation);
    weights.leave(Branch::Mlp, apply(&weights.down, &gate), residual, shape);
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
