//! One decoder layer backwards: what its projections are given, and the gradients of what they make.

use super::gradients;
use crate::calibrate::forward::{attention, gated, rotate};
use crate::calibrate::shape::{LayerShape, Rotations};
use crate::calibrate::weights::{Branch, LayerWeights, Projection};
use crate::product::multiply;

/// What passed through a layer, there and back.
pub(super) struct Trace {
    /// Inputs of queries, keys and values, of attention's output, of gate and up, and of down: `[tokens, channels]`.
    pub(super) inputs: [Vec<f32>; 4],
    /// For each projection, in the order of use: the mean square of the gradient of each of its outputs.
    pub(super) squares: [Vec<f32>; 7],
}

/// Takes the gradient of the residual stream behind a layer to before it.
///
/// # Shapes
/// `residual` before the layer, and `gradient`: `[tokens, hidden]`, windows of `length` tokens.
pub(super) fn trace(
    weights: &LayerWeights,
    shape: &LayerShape,
    rotations: &Rotations,
    length: usize,
    residual: &[f32],
    gradient: &mut [f32],
) -> Trace {
    // There.
    let x = weights.enter(Branch::Attention, residual, shape).into_owned();
    let [plain_q, plain_k, v] = [&weights.q, &weights.k, &weights.v].map(|projection| projection.apply(&x));
    let (mut q, mut k) = (plain_q.clone(), plain_k.clone());
    weights.norm_heads(&mut q, &mut k, shape);
    let rotation = rotations.get(shape);
    if let Some(rotation) = rotation {
        rotate(&mut q, shape.head_dim, shape.q_size(), length, rotation);
        rotate(&mut k, shape.head_dim, shape.kv_size(), length, rotation);
    }
    let attended = attention(&q, &k, &v, length, shape);
    let attention_made = weights.o.apply(&attended);
    let mut middle = residual.to_vec();
    weights.leave(Branch::Attention, attention_made.clone(), &mut middle, shape);
    let y = weights.enter(Branch::Mlp, &middle, shape).into_owned();
    let (mut gate, mut up) = (weights.gate.apply(&y), weights.up.apply(&y));
    let mut inner = gate.clone();
    gated(&mut inner, &up, shape.activation);

    // And back: the MLP,
    let mlp_made = weights.norm_after(Branch::Mlp).is_some().then(|| weights.down.apply(&inner));
    let down = made(weights, Branch::Mlp, mlp_made.as_deref(), gradient, shape);
    drop(mlp_made);
    gradients::gated(&mut gate, &mut up, &back(&weights.down, &down), shape.activation);
    let (gate_squares, up_squares) = (mean_squares(&gate, &weights.gate), mean_squares(&up, &weights.up));
    let mut at_y = back(&weights.gate, &gate);
    add(&mut at_y, &back(&weights.up, &up));
    drop((gate, up));
    entered(weights, Branch::Mlp, &middle, &at_y, gradient, shape);

    // and attention.
    let out = made(weights, Branch::Attention, Some(&attention_made), gradient, shape);
    let [mut dq, mut dk, dv] = gradients::attention([&q, &k, &v], &back(&weights.o, &out), length, shape);
    if let Some(rotation) = rotation {
        gradients::rotate(&mut dq, shape.head_dim, shape.q_size(), length, rotation);
        gradients::rotate(&mut dk, shape.head_dim, shape.kv_size(), length, rotation);
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

/// The gradient of what a branch's last projection made, from that of the residual behind it.
fn made(
    weights: &LayerWeights,
    branch: Branch,
    made: Option<&[f32]>,
    gradient: &[f32],
    shape: &LayerShape,
) -> Vec<f32> {
    let scaled: Vec<f32> = gradient.iter().map(|gradient| gradient * shape.residual_multiplier).collect();
    match weights.norm_after(branch).zip(made) {
        None => scaled,
        Some((norm, made)) => {
            let mut before = vec![0.0; scaled.len()];
            gradients::rms_norm(made, norm, shape.eps, &scaled, &mut before);
            before
        }
    }
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
