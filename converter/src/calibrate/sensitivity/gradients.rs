//! Gradients of the parts of a decoder layer, in f32 over all tokens at once.
//!
//! Each takes what the part was given and the gradient of what it made, and gives the gradient of what it was given.

use anec_quantize::product::{Accum, MatMut, MatRef, matmul};
use rayon::prelude::*;

use crate::calibrate::forward::{PIECE, soften, weigh};
use crate::calibrate::shape::{LayerShape, Rotation};
use crate::model::decoder_plan::Activation;

/// Of [`rms_norm`](crate::calibrate::forward::rms_norm), added to `sum`.
///
/// # Shapes
/// `x`, `gradient` and `sum`: `[any, weight.len()]`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is what is computed in")]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, gradient: &[f32], sum: &mut [f32]) {
    let channels = weight.len();
    let piece = (PIECE / channels).max(1) * channels;
    let pieces = sum.par_chunks_mut(piece).zip(x.par_chunks(piece).zip(gradient.par_chunks(piece)));
    pieces.for_each(|(sum, (x, gradient))| {
        let rows = x.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for (sum, (x, gradient)) in sum.chunks_exact_mut(channels).zip(rows) {
            // f64, as in the forward pass.
            let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let mean = square / channels as f64 + f64::from(eps);
            let scale = mean.sqrt().recip();
            let products = x.iter().zip(gradient).zip(weight);
            let along: f64 = products.map(|((x, g), w)| f64::from(*x) * f64::from(*g) * f64::from(*w)).sum();
            let back = (along / channels as f64 / mean * scale) as f32;
            for (((sum, x), gradient), weight) in sum.iter_mut().zip(x).zip(gradient).zip(weight) {
                *sum += scale as f32 * gradient * weight - back * x;
            }
        }
    });
}

/// Of [`rotate`](crate::calibrate::forward::rotate), in place: turns back.
pub(super) fn rotate(gradient: &mut [f32], head_dim: usize, channels: usize, length: usize, rotation: &Rotation) {
    let half = rotation.pairs;
    gradient.par_chunks_mut(channels).enumerate().for_each(|(token, row)| {
        let at = token % length * half;
        let (cos, sin) = (&rotation.cos[at..at + half], &rotation.sin[at..at + half]);
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head.split_at_mut(half);
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                (*low, *high) = (*low * cos + *high * sin, *high * cos - *low * sin);
            }
        }
    });
}

/// Of [`gated`](crate::calibrate::forward::gated): gradients of the gate, in its place, and of `up`, in its place.
pub(super) fn gated(gate: &mut [f32], up: &mut [f32], gradient: &[f32], activation: Activation) {
    let pieces = gate.par_chunks_mut(PIECE).zip(up.par_chunks_mut(PIECE)).zip(gradient.par_chunks(PIECE));
    pieces.for_each(|((gate, up), gradient)| {
        for ((gate, up), gradient) in gate.iter_mut().zip(up).zip(gradient) {
            let (value, slope) = match activation {
                Activation::Silu => silu(*gate),
                Activation::GeluTanh => gelu_tanh(*gate),
            };
            (*gate, *up) = (gradient * *up * slope, gradient * value);
        }
    });
}

/// The value and its derivative.
fn silu(x: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
}

/// The value and its derivative.
fn gelu_tanh(x: f32) -> (f32, f32) {
    /// √(2/π)
    const ROOT: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;
    let tanh = (ROOT * (x + CUBIC * x * x * x)).tanh();
    let inner = ROOT * (1.0 + 3.0 * CUBIC * x * x);
    (0.5 * x * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner)
}

/// Of [`attention`](crate::calibrate::forward::attention): gradients of queries, keys and values.
///
/// # Shapes
/// `q` and `gradient`: `[tokens, heads * head_dim]`, `k`, `v`: `[tokens, kv_heads * head_dim]`; the results as `q`, `k`, `v`.
pub(super) fn attention([q, k, v]: [&[f32]; 3], gradient: &[f32], length: usize, shape: &LayerShape) -> [Vec<f32>; 3] {
    let (q_size, kv_size) = (length * shape.q_size(), length * shape.kv_size());
    let mut made = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
    let [dq, dk, dv] = &mut made;
    let results = dq.par_chunks_mut(q_size).zip(dk.par_chunks_mut(kv_size)).zip(dv.par_chunks_mut(kv_size));
    let inputs = q.par_chunks(q_size).zip(k.par_chunks(kv_size)).zip(v.par_chunks(kv_size));
    results.zip(inputs).zip(gradient.par_chunks(q_size)).for_each_init(
        || [(); 3].map(|()| vec![0.0; length * length]),
        |scratch, (((results, dv), ((q, k), v)), gradient)| {
            let (dq, dk) = results;
            window([q, k, v], gradient, [dq, dk, dv], scratch, length, shape);
        },
    );
    made
}

/// One window.
fn window(
    [q, k, v]: [&[f32]; 3],
    gradient: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
    scratch: &mut [Vec<f32>; 3],
    length: usize,
    shape: &LayerShape,
) {
    let [weights, slopes, back] = scratch;
    let (q_size, kv_size, head_dim) = (shape.q_size(), shape.kv_size(), shape.head_dim);
    let rows = |x, columns| MatRef::from_row_major_slice(x, length, columns);
    let (q, k, v, gradient) = (rows(q, q_size), rows(k, kv_size), rows(v, kv_size), rows(gradient, q_size));
    let mut dq = MatMut::from_row_major_slice_mut(dq, length, q_size);
    let mut dk = MatMut::from_row_major_slice_mut(dk, length, kv_size);
    let mut dv = MatMut::from_row_major_slice_mut(dv, length, kv_size);
    for head in 0..shape.heads {
        let kv = head / (shape.heads / shape.kv_heads) * head_dim;
        let own = head * head_dim;
        let (q, k, v) = (q.subcols(own, head_dim), k.subcols(kv, head_dim), v.subcols(kv, head_dim));
        let gradient = gradient.subcols(own, head_dim);
        let products = MatMut::from_row_major_slice_mut(&mut *weights, length, length);
        matmul(products, Accum::Replace, q, k.transpose(), shape.query_scale);
        soften(weights, shape.softcap);
        // The slope of the bound follows from what it made.
        if let Some(cap) = shape.softcap {
            for (slope, score) in slopes.iter_mut().zip(&*weights) {
                *slope = 1.0 - (score / cap) * (score / cap);
            }
        } else {
            slopes.fill(1.0);
        }
        weigh(weights, length, shape.window);
        let p = MatRef::from_row_major_slice(&*weights, length, length);
        matmul(dv.as_mut().subcols_mut(kv, head_dim), Accum::Add, p.transpose(), gradient, 1.0);
        let products = MatMut::from_row_major_slice_mut(&mut *back, length, length);
        matmul(products, Accum::Replace, gradient, v.transpose(), 1.0);
        let rows = back.chunks_exact_mut(length).zip(weights.chunks_exact(length).zip(slopes.chunks_exact(length)));
        for (back, (weights, slopes)) in rows {
            let mean: f32 = back.iter().zip(weights).map(|(back, weight)| back * weight).sum();
            for ((back, weight), slope) in back.iter_mut().zip(weights).zip(slopes) {
                *back = weight * (*back - mean) * slope;
            }
        }
        let back = MatRef::from_row_major_slice(&*back, length, length);
        let scale = shape.query_scale;
        matmul(dq.as_mut().subcols_mut(own, head_dim), Accum::Replace, back, k, scale);
        matmul(dk.as_mut().subcols_mut(kv, head_dim), Accum::Add, back.transpose(), q, scale);
    }
}
