//! Gradients against differences of the forward pass.

use super::gradients;
use crate::calibrate::forward;
use crate::calibrate::shape::{LayerShape, Rotation};
use crate::model::decoder_plan::Activation;

/// Numbers between -1 and 1 that repeat late.
#[expect(clippy::cast_precision_loss, reason = "small")]
fn pattern(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((index + seed) * 7919 % 1009) as f32 / 504.5) - 1.0).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Requires that `gradient` is that of `Σ weights * function(x)` at `x`, along each of some axes.
fn check(function: &dyn Fn(&[f32]) -> Vec<f32>, x: &[f32], weights: &[f32], gradient: &[f32]) {
    const STEP: f32 = 1e-2;
    let most = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for at in (0..x.len()).step_by(x.len() / 24 + 1) {
        let moved = |by: f32| {
            let mut x = x.to_vec();
            x[at] += by;
            dot(&function(&x), weights)
        };
        let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
        let difference = (slope - f64::from(gradient[at])).abs();
        assert!(difference < 3e-3 * f64::from(most.max(1.0)), "{at}: {slope} {}", gradient[at]);
    }
}

#[test]
fn of_norms() {
    let (x, weight, back) = (pattern(60, 1), pattern(12, 2), pattern(60, 3));
    let mut gradient = vec![0.0; 60];
    gradients::rms_norm(&x, &weight, 1e-5, &back, &mut gradient);
    check(&|x| forward::rms_norm(x, &weight, 1e-5), &x, &back, &gradient);
}

#[test]
fn of_both_activations() {
    let (gate, up, back) = (pattern(80, 4), pattern(80, 5), pattern(80, 6));
    let gate: Vec<f32> = gate.iter().map(|gate| 3.0 * gate).collect();
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let (mut gate_gradient, mut up_gradient) = (gate.clone(), up.clone());
        gradients::gated(&mut gate_gradient, &mut up_gradient, &back, activation);
        let made = |gate: &[f32], up: &[f32]| {
            let mut made = gate.to_vec();
            forward::gated(&mut made, up, activation);
            made
        };
        check(&|gate| made(gate, &up), &gate, &back, &gate_gradient);
        check(&|up| made(&gate, up), &up, &back, &up_gradient);
    }
}

#[test]
fn of_rotations() {
    let angles = pattern(7 * 3, 7);
    let rotation = Rotation {
        pairs: 3,
        cos: angles.iter().map(|angle| 1.5 * angle.cos()).collect(),
        sin: angles.iter().map(|angle| 1.5 * angle.sin()).collect(),
    };
    let (x, back) = (pattern(7 * 12, 8), pattern(7 * 12, 9));
    let mut gradient = back.clone();
    gradients::rotate(&mut gradient, 6, 12, 7, &rotation);
    let turned = |x: &[f32]| {
        let mut x = x.to_vec();
        forward::rotate(&mut x, 6, 12, &rotation);
        x
    };
    check(&turned, &x, &back, &gradient);
}

#[test]
fn of_attention_with_shared_heads_windows_and_bounded_scores() {
    let length = 9;
    for (window, softcap) in [(None, None), (Some(4), None), (None, Some(1.5))] {
        let shape = LayerShape {
            hidden: 0,
            intermediate: 0,
            heads: 4,
            kv_heads: 2,
            head_dim: 5,
            eps: 0.0,
            activation: Activation::Silu,
            query_scale: 1.3,
            softcap,
            residual_multiplier: 1.0,
            window,
            rotation: None,
        };
        let (q, k, v) = (pattern(2 * length * 20, 10), pattern(2 * length * 10, 11), pattern(2 * length * 10, 12));
        let back = pattern(2 * length * 20, 13);
        let [dq, dk, dv] = gradients::attention([&q, &k, &v], &back, length, &shape);
        let made = |q: &[f32], k: &[f32], v: &[f32]| {
            let mut made = vec![0.0; q.len()];
            let windows = q.chunks(length * 20).zip(k.chunks(length * 10).zip(v.chunks(length * 10)));
            for (made, (q, (k, v))) in made.chunks_mut(length * 20).zip(windows) {
                forward::attention([q, k, v], &shape, &mut Vec::new(), made);
            }
            made
        };
        check(&|q| made(q, &k, &v), &q, &back, &dq);
        check(&|k| made(&q, k, &v), &k, &back, &dk);
        check(&|v| made(&q, &k, v), &v, &back, &dv);
    }
}
