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
    let mut result = x.to_vec();
    rms_norm_in_place(&mut result, weight, eps);
    result
}

/// As [`rms_norm`].
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let channels = weight.len();
    x.par_chunks_mut((PIECE / channels).max(1) * channels).for_each(|rows| {
        for row in rows.chunks_exact_mut(channels) {
            // f64: one channel of a real model's first token may be thousands of times the others.
            let sum: f64 = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "f32 is what is computed in"
            )]
            let scale = (sum / channels as f64 + f64::from(eps)).sqrt().recip() as f32;
            row.iter_mut().zip(weight).for_each(|(value, weight)| *value = *value * scale * weight);
        }
    });
}

/// Turns the two halves of every head by its position.
///
/// # Shapes
/// `x: [tokens, heads * head_dim]`, windows of `length` tokens.
pub(super) fn rotate(x: &mut [f32], head_dim: usize, channels: usize, length: usize, rotation: &Rotation) {
    x.par_chunks_mut(channels).enumerate().for_each(|(token, row)| {
        rotate_at(row, head_dim, token % length, rotation);
    });
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

/// Attention of every window of `length` tokens to itself.
///
/// # Shapes
/// `q: [tokens, heads * head_dim]`, `k`, `v`: `[tokens, kv_heads * head_dim]`; the result as `q`.
pub(super) fn attention(q: &[f32], k: &[f32], v: &[f32], length: usize, shape: &LayerShape) -> Vec<f32> {
    let (q_size, kv_size, head_dim) = (shape.q_size(), shape.kv_size(), shape.head_dim);
    let mut result = vec![0.0; q.len()];
    let windows = result.par_chunks_mut(length * q_size).zip(q.par_chunks(length * q_size));
    let windows = windows.zip(k.par_chunks(length * kv_size).zip(v.par_chunks(length * kv_size)));
    windows.for_each_init(Vec::new, |scores: &mut Vec<f32>, ((result, q), (k, v))| {
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
    });
    result
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
    gate.par_chunks_mut(PIECE).zip(up.par_chunks(PIECE)).for_each(|(gate, up)| {
        match activation {
            Activation::Silu => Silu {}.map_mut(gate),
            Activation::GeluTanh => ApproxGelu {}.map_mut(gate),
        }
        gate.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
    });
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
    values.par_chunks_mut(PIECE).zip(more.par_chunks(PIECE)).for_each(|(values, more)| {
        values.iter_mut().zip(more).for_each(|(value, more)| *value += factor * more);
    });
}
