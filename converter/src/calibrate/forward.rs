//! The parts of a decoder layer, in f32 over all calibration tokens at once.

use anec_quantize::product::{Accum, MatMut, MatRef, matmul};
use rayon::prelude::*;
use rten_simd::{SimdOp as _, SimdUnaryOp as _};
use rten_vecmath::{ApproxGelu, Silu, Softmax, Tanh};

use super::shape::{LayerShape, Rotation};
use crate::model::decoder_plan::Activation;

/// Elements that one thread takes at a time.
pub(super) const PIECE: usize = 1 << 16;

/// RMSNorm of each row.
///
/// # Shapes
/// `x: [any, weight.len()]`, as the result.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut result = vec![0.0; x.len()];
    rms_norm_into(&mut result, x, weight, eps);
    result
}

/// As [`rms_norm`].
pub(super) fn rms_norm_into(result: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
    let piece = (PIECE / weight.len()).max(1) * weight.len();
    result.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(result, x)| {
        result.copy_from_slice(x);
        rms_norm_here(result, weight, eps);
    });
}

/// As [`rms_norm`].
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let piece = (PIECE / weight.len()).max(1) * weight.len();
    x.par_chunks_mut(piece).for_each(|rows| rms_norm_here(rows, weight, eps));
}

/// As [`rms_norm`], in place, on the calling thread.
pub(super) fn rms_norm_here(x: &mut [f32], weight: &[f32], eps: f32) {
    let channels = weight.len();
    for row in x.chunks_exact_mut(channels) {
        // f64: one channel of a real model's first token may be thousands of times the others.
        let sum: f64 = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is what is computed in")]
        let scale = (sum / channels as f64 + f64::from(eps)).sqrt().recip() as f32;
        row.iter_mut().zip(weight).for_each(|(value, weight)| *value = *value * scale * weight);
    }
}

/// Turns the two halves of every head by its position in a window.
///
/// # Shapes
/// `x: [length, heads * head_dim]`.
pub(super) fn rotate(x: &mut [f32], head_dim: usize, channels: usize, rotation: &Rotation) {
    for (position, row) in x.chunks_exact_mut(channels).enumerate() {
        rotate_at(row, head_dim, position, rotation);
    }
}

/// Turns the heads of one token at a position, in their first channels.
pub(super) fn rotate_at(row: &mut [f32], head_dim: usize, position: usize, rotation: &Rotation) {
    let half = rotation.pairs;
    let at = position * half;
    let (cos, sin) = (&rotation.cos[at..at + half], &rotation.sin[at..at + half]);
    for head in row.chunks_exact_mut(head_dim) {
        let (low, high) = head.split_at_mut(half);
        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
        }
    }
}

/// Attention of a window to itself; `scores` is room for what is between.
///
/// # Shapes
/// `q: [length, heads * head_dim]`, `k`, `v`: `[length, kv_heads * head_dim]`; the result as `q`.
pub(super) fn attention([q, k, v]: [&[f32]; 3], shape: &LayerShape, scores: &mut Vec<f32>, result: &mut [f32]) {
    let (q_size, kv_size, head_dim) = (shape.q_size(), shape.kv_size(), shape.head_dim);
    let length = q.len() / q_size;
    scores.resize(length * length, 0.0);
    let q = MatRef::from_row_major_slice(q, length, q_size);
    let k = MatRef::from_row_major_slice(k, length, kv_size);
    let v = MatRef::from_row_major_slice(v, length, kv_size);
    let mut result = MatMut::from_row_major_slice_mut(result, length, q_size);
    for head in 0..shape.heads {
        let kv = head / (shape.heads / shape.kv_heads) * head_dim;
        let (q, k, v) = (q.subcols(head * head_dim, head_dim), k.subcols(kv, head_dim), v.subcols(kv, head_dim));
        let products = MatMut::from_row_major_slice_mut(scores, length, length);
        matmul(products, Accum::Replace, q, k.transpose(), shape.query_scale);
        soften(scores, shape.softcap);
        weigh(scores, length, shape.window);
        let out = result.as_mut().subcols_mut(head * head_dim, head_dim);
        matmul(out, Accum::Replace, MatRef::from_row_major_slice(scores, length, length), v, 1.0);
    }
}

/// The weights of attention from scores, `[length, length]`, in their place: positions that a query does not see get none.
pub(super) fn weigh(scores: &mut [f32], length: usize, window: Option<usize>) {
    for (at, row) in scores.chunks_exact_mut(length).enumerate() {
        let first = window.map_or(0, |window| (at + 1).saturating_sub(window));
        row[..first].fill(0.0);
        row[at + 1..].fill(0.0);
        Softmax::new_mut(&mut row[first..=at]).dispatch();
    }
}

/// `activation(gate) * up`, in place of the gate.
pub(super) fn gated(gate: &mut [f32], up: &[f32], activation: Activation) {
    gate.par_chunks_mut(PIECE).zip(up.par_chunks(PIECE)).for_each(|(gate, up)| gated_here(gate, up, activation));
}

/// As [`gated`], on the calling thread.
pub(super) fn gated_here(gate: &mut [f32], up: &[f32], activation: Activation) {
    match activation {
        Activation::Silu => Silu {}.map_mut(gate),
        Activation::GeluTanh => ApproxGelu {}.map_mut(gate),
    }
    gate.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
}

/// Bounds scores or logits: `cap * tanh(x / cap)`.
pub(super) fn soften(values: &mut [f32], cap: Option<f32>) {
    if let Some(cap) = cap {
        for value in &mut *values {
            *value /= cap;
        }
        Tanh {}.map_mut(values);
        for value in &mut *values {
            *value *= cap;
        }
    }
}

/// `values += factor * more`.
pub(super) fn add_scaled(values: &mut [f32], more: &[f32], factor: f32) {
    let pieces = values.par_chunks_mut(PIECE).zip(more.par_chunks(PIECE));
    pieces.for_each(|(values, more)| add_scaled_here(values, more, factor));
}

/// As [`add_scaled`], on the calling thread.
pub(super) fn add_scaled_here(values: &mut [f32], more: &[f32], factor: f32) {
    values.iter_mut().zip(more).for_each(|(value, more)| *value += factor * more);
}
