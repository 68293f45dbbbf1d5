//! One decoder layer backwards: what its projections are given, and the gradients of what they make.

use rayon::prelude::*;

use super::gradients;
use crate::calibrate::buffers::Buffer;
use crate::calibrate::forward::{attention, gated, rotate};
use crate::calibrate::shape::LayerShape;
use crate::calibrate::weights::{Branch, LayerWeights, Projection, Windows};
use crate::product::multiply;

/// What passed through a layer, there and back.
pub(super) struct Trace<'a> {
    /// Inputs of queries, keys and values, of attention's output, of gate and up, and of down: `[tokens, channels]`.
    pub(super) inputs: [Buffer<'a>; 4],
    /// For each projection, in the order of use: the mean square of the gradient of each of its outputs.
    pub(super) squares: [Vec<f32>; 7],
}

/// Takes the gradient of the residual stream behind a layer to before it.
///
/// # Shapes
/// `residual` before the layer, and `gradient`: `[tokens, hidden]`, windows of `length` tokens.
pub(super) fn trace<'a>(
    weights: &LayerWeights,
    shape: &LayerShape,
    windows: &Windows<'a>,
    residual: &[f32],
    gradient: &mut [f32],
) -> Trace<'a> {
    let Windows { rotations, length, buffers } = *windows;
    let rotation = rotations.get(shape);
    let (q_size, kv_size) = (shape.q_size(), shape.kv_size());
    // There.
    let x = weights.enter(Branch::Attention, residual, shape, buffers);
    let [plain_q, plain_k, v] = [&weights.q, &weights.k, &weights.v].map(|projection| projection.apply(&x));
    let (mut q, mut k) = (plain_q.clone(), plain_k.clone());
    let mut attended = buffers.take(q.len());
    let heads = q.par_chunks_mut(length * q_size).zip(k.par_chunks_mut(length * kv_size));
    let pieces = heads.zip(v.par_chunks(length * kv_size)).zip(attended.par_chunks_mut(length * q_size));
    pieces.for_each_init(Vec::new, |scores, (((q, k), v), attended)| {
        weights.norm_heads(q, k, shape);
        if let Some(rotation) = rotation {
            rotate(q, shape.head_dim, q_size, rotation);
            rotate(k, shape.head_dim, kv_size, rotation);
        }
        attention([q, k, v], shape, scores, attended);
    });
    let mut middle = buffers.copy(residual);
    weights.add(Branch::Attention, &attended, &mut middle, shape);
    let y = weights.enter(Branch::Mlp, &middle, shape, buffers);
    let (mut gate, mut up) = (weights.gate.apply(&y), weights.up.apply(&y));
    let mut inner = buffers.copy(&gate);
    gated(&mut inner, &up, shape.activation);

    // And back: the MLP,
    let down = made(weights, Branch::Mlp, &inner, gradient, shape);
    gradients::gated(&mut gate, &mut up, &back(&weights.down, &down), shape.activation);
    let (gate_squares, up_squares) = (mean_squares(&gate, &weights.gate), mean_squares(&up, &weights.up));
    let mut at_y = back(&weights.gate, &gate);
    add(&mut at_y, &back(&weights.up, &up));
    drop((gate, up));
    entered(weights, Branch::Mlp, &middle, &at_y, gradient, shape);

    // and attention.
    let out = made(weights, Branch::Attention, &attended, gradient, shape);
    let [mut dq, mut dk, dv] = gradients::attention([&q, &k, &v], &back(&weights.o, &out), length, shape);
    if let Some(rotation) = rotation {
        gradients::rotate(&mut dq, shape.head_dim, q_size, length, rotation);
        gradients::rotate(&mut dk, shape.head_dim, kv_size, length, rotation);
    }
    for (gradient, norm, plain) in [(&mut dq, &weights.q_norm, &plain_q), (&mut dk, &weights.k_norm, &plain_k)] {
        if let Some(norm) = norm {
            let mut before = vec![0.0; gradient.len()];
            gradients::rms_norm(plain, norm, shape.eps, gradient, &mut before);
            *gradient = before;
        }
    }
    let mut at_x = back(&weights.q, &dq);
    add(&mut at_x, &back(&weights.k, &dk));
    add(&mut at_x, &back(&weights.v, &dv));
    entered(weights, Branch::Attention, residual, &at_x, gradient, shape);

    let squares = [
        mean_squares(&dq, &weights.q),
        mean_squares(&dk, &weights.k),
        mean_squares(&dv, &weights.v),
        mean_squares(&out, &weights.o),
        gate_squares,
        up_squares,
        mean_squares(&down, &weights.down),
    ];
    Trace { inputs: [x, attended, y, inner], squares }
}

/// The gradient of what a branch's last projection made of its `inputs`, from that of the residual behind it.
fn made(weights: &LayerWeights, branch: Branch, inputs: &[f32], gradient: &[f32], shape: &LayerShape) -> Vec<f32> {
    let scaled: Vec<f32> = gradient.iter().map(|gradient| gradient * shape.residual_multiplier).collect();
    let Some(norm) = weights.norm_after(branch) else { return scaled };
    let mut before = vec![0.0; scaled.len()];
    gradients::rms_norm(&weights.last(branch).apply(inputs), norm, shape.eps, &scaled, &mut before);
    before
}

/// Adds the gradient of what entered a branch to that of the residual before it.
fn entered(
    weights: &LayerWeights,
    branch: Branch,
    residual: &[f32],
    gradient: &[f32],
    sum: &mut [f32],
    shape: &LayerShape,
) {
    match weights.norm_before(branch) {
        None => add(sum, gradient),
        Some(norm) => gradients::rms_norm(residual, norm, shape.eps, gradient, sum),
    }
}

/// The gradient of a projection's input.
fn back(projection: &Projection, gradient: &[f32]) -> Vec<f32> {
    multiply(gradient, &projection.weight, projection.weight.len() / projection.inputs)
}

fn add(sum: &mut [f32], more: &[f32]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// The mean over tokens of the square of each output's gradient.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is enough for what is counted")]
fn mean_squares(gradient: &[f32], projection: &Projection) -> Vec<f32> {
    let outputs = projection.weight.len() / projection.inputs;
    let mut sums = vec![0.0_f64; outputs];
    for row in gradient.chunks_exact(outputs) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) * f64::from(*value));
    }
    let tokens = (gradient.len() / outputs).max(1) as f64;
    sums.into_iter().map(|sum| (sum / tokens) as f32).collect()
}
